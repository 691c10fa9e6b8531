"""The gate `dedupe`: the same command is never sent twice. Observed is the id of a command that was sent before."""

from collections.abc import Iterator

from schemas.commands import command_id
from schemas.decisions import Decision, GateAnswer
from schemas.vocabulary import DecisionOutcome, Gate
from triggers.engine.gates import stored
from triggers.engine.gates.request import GateRequest
from triggers.engine.records import AnswerRecord

_FIRST = AnswerRecord(Gate.DEDUPE, True, shared=True)


def ask(request: GateRequest) -> AnswerRecord:
    """Passes if the user's state remembers the command neither as sent nor as recorded in the same way."""
    sent = request.evaluation.state.sent
    if not sent:
        return _FIRST
    name = request.trigger.name
    known = name in sent and request.command_id in sent[name]
    outcome = _recorded_outcome(request)
    if outcome is not None and not known:
        known = request.command_id in sent.get(recorded_key(outcome, name), ())
    return AnswerRecord(Gate.DEDUPE, False, request.command_id) if known else _FIRST


def _recorded_outcome(request: GateRequest) -> DecisionOutcome | None:
    """The outcome of a send that is recorded instead of sent, if it passes; None for a real send.

    The gate `holdout` comes later, so the holdout is computed here too.
    """
    if request.verdict.outcome is DecisionOutcome.SHADOW:
        return DecisionOutcome.SHADOW
    return DecisionOutcome.HELD_OUT if request.holdout() is not None else None


def recorded_key(outcome: DecisionOutcome, trigger: str) -> str:
    """The key by which a state remembers commands that were only recorded. No trigger's name has a space."""
    return f"{outcome} {trigger}"


def verify(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    """Compares the id with that of the decision's occurrence and step."""
    yield from stored.compare(answer, answer.observed is None)
    if answer.observed is not None and stored.text(answer.observed, answer) != decision_command(decision):
        yield "the command that it observed is not that of this occurrence and step"


def decision_command(decision: Decision) -> str:
    """The id of the command that the decision's occurrence and step send."""
    return command_id(decision.trigger, decision.user_id, decision.occurrence, decision.step)


def words(answer: GateAnswer) -> str:
    """Whether the command was sent before."""
    return "not sent before" if answer.passed else f"sent before, as command {stored.text(answer.observed, answer)}"
