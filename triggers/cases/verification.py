"""Verifies a recorded decision against itself: whether its answer follows from the values that it stored.

Each gate verifies its own stored answer. What a decision does not store is not verified.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.decisions import Decision
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from triggers.engine.gates.dedupe import decision_command
from triggers.engine.gates.mode import RECORDED_ONLY
from triggers.engine.gates.stored import UnknownRecord
from triggers.engine.gates.table import DEFERRING, GATES, WEBHOOK_GATES, refined


@dataclass(slots=True)
class Verification:
    """What does not follow from the stored values, and which stored values this version cannot verify."""

    differs: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Whether everything stored was verified and follows."""
        return not self.differs and not self.unverified


def verify(decision: Decision) -> Verification:
    """Verifies every stored gate answer, their order and the outcome."""
    found = Verification()
    if not decision.gates:
        return found
    found.differs += _order(decision)
    for answer in decision.gates:
        try:
            found.differs += [f"{answer.gate}: {text}" for text in GATES[answer.gate].verify(decision, answer)]
        except UnknownRecord as error:
            found.unverified.append(f"{answer.gate}: {error}")
    found.differs += _outcome(decision)
    return found


def _order(decision: Decision) -> Iterator[str]:
    """Gates answer in order, up to the first that does not pass. After a deferral, expiry may follow."""
    answered = [answer.gate for answer in decision.gates]
    deferred = len(answered) > 1 and answered[-1] is Gate.EXPIRY and answered[-2] in DEFERRING
    first = answered[:-1] if deferred else answered
    expected = WEBHOOK_GATES if "endpoint" in decision.inputs else tuple(GATES)
    if tuple(first) != expected[: len(first)]:
        yield "the gates are not in their order"
    before = decision.gates[: -2 if deferred else -1]
    if not all(answer.passed for answer in before):
        yield "a gate answered after one that did not pass"


def _outcome(decision: Decision) -> Iterator[str]:
    last = decision.gates[-1]
    reason = decision.reason
    if not last.passed:
        wanted = {DecisionOutcome.DROP}
        if last.gate in DEFERRING and last.next_eligible is not None:
            wanted.add(DecisionOutcome.DEFER)
        if decision.outcome not in wanted or reason is not refined(GATES[last.gate].reason, last.observed):
            yield f"the gate {last.gate} did not pass, but the decision is {_outcome_text(decision)}"
    elif decision.outcome is DecisionOutcome.DROP and reason is Reason.INVALID_DATA:
        return
    else:
        yield from _passed(decision)
    if decision.outcome is DecisionOutcome.SEND and decision.command_id != decision_command(decision):
        yield "the command's id is not that of this occurrence and step"


def _passed(decision: Decision) -> Iterator[str]:
    """Where all gates passed, mode and holdout determine whether the send is only recorded."""
    observed = {answer.gate: answer.observed for answer in decision.gates}
    if observed.get(Gate.MODE) in RECORDED_ONLY:
        wanted = DecisionOutcome.SHADOW
    else:
        wanted = DecisionOutcome.SEND if observed.get(Gate.HOLDOUT) is None else DecisionOutcome.HELD_OUT
    if decision.outcome is not wanted:
        yield f"every gate passed, which gives {wanted}, but the decision is {_outcome_text(decision)}"


def _outcome_text(decision: Decision) -> str:
    return f"{decision.outcome} {decision.reason or ''}".strip()
