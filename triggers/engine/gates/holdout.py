"""The gate `holdout`: a share of users is recorded, not sent, for comparison. It always passes.

Observed is the name of the holdout that the user is in, limit its percentage. Both are absent for a user in no holdout.
"""

from collections.abc import Iterator

from schemas.decisions import Decision, GateAnswer
from schemas.numbers import number_text, whole
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from triggers.engine.gates import stored
from triggers.engine.gates.request import GateRequest
from triggers.engine.records import AnswerRecord
from triggers.rules.assignment import in_holdout

_NOT_HELD_OUT = AnswerRecord(Gate.HOLDOUT, True, shared=True)


def ask(request: GateRequest) -> AnswerRecord:
    """Turns a real send of a user who is held out into a recorded one."""
    found = request.holdout()
    if found is None:
        return _NOT_HELD_OUT
    if request.verdict.outcome is DecisionOutcome.SEND:
        request.verdict.outcome, request.verdict.reason = DecisionOutcome.HELD_OUT, Reason.HOLDOUT
    name, percent = found
    return AnswerRecord(Gate.HOLDOUT, True, name, whole(percent))


def verify(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    """Compares the holdout with the hash of the user's id."""
    yield from stored.compare(answer, True)
    if answer.observed is None:
        return
    name, percent = stored.text(answer.observed, answer), stored.number(answer.limit, answer)
    if not in_holdout(name, decision.user_id, percent):
        yield f"the user is not among the {number_text(percent)}% that {name} holds out"


def words(answer: GateAnswer) -> str:
    """The holdout that the user is in."""
    if answer.observed is None:
        return "not held out"
    name, percent = stored.text(answer.observed, answer), stored.number(answer.limit, answer)
    return f"held out by {name} ({number_text(percent)}%)"
