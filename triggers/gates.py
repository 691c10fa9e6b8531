"""The gates of a send, in order: mode, dedupe, suppression, consent, when, holdout, expiry, quiet, cap.

Each gives one recorded answer. The first that does not pass decides; a deferral that would not end before the expiry
is a drop now, with both answers visible. Members of a holdout and users outside a canary pass on, against
reservations of their own, and are recorded instead of sent.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from schemas.decisions import GateAnswer
from schemas.vocabulary import TRANSACTIONAL, DecisionOutcome, Gate, Reason
from triggers.assignment import in_canary, in_holdout
from triggers.caps import ask_caps
from triggers.cel_runtime import EvaluationError, as_time
from triggers.conditions import Context
from triggers.localtime import first_outside, inside, zone_named
from triggers.rule import Send, Trigger
from triggers.shapes import duration_text
from triggers.state import Occurrence
from triggers.turn import Turn


@dataclass(slots=True)
class Verdict:
    """What the gates say. `outcome` is send, shadow or held_out where all passed; `until` is a deferral's instant."""

    outcome: DecisionOutcome = DecisionOutcome.SEND
    reason: Reason | None = None
    until: int | None = None
    answers: list[GateAnswer] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Asking:
    """One send before the gates. `moment` is as of when `when` is asked: the clock, or what settling waited for."""

    turn: Turn
    trigger: Trigger
    occurrence: Occurrence
    send: Send
    command_id: str
    moment: int
    paused: frozenset[str]
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def now_ms(self) -> int:
        return self.turn.now_ms

    @property
    def expires_ms(self) -> int:
        """The instant from which the send is too late."""
        return self.occurrence.due + self.trigger.expires_ms

    def context(self) -> Context:
        """What the rule's expressions are asked about."""
        return self.turn.context(self.occurrence.event, self.occurrence, self.moment)

    def answer(
        self, gate: Gate, passed: bool, observed: Any = None, limit: Any = None, until: int | None = None
    ) -> bool:
        """Records one answer and gives it back."""
        if until is None and limit.__class__ is not datetime:
            made = _usual_answer(gate, passed, observed, limit)
        else:
            made = _answer(gate, passed, observed, limit, None if until is None else as_time(until))
        self.verdict.answers.append(made)
        return passed


def _answer(gate: Gate, passed: bool, observed: Any, limit: Any, following: datetime | None = None) -> GateAnswer:
    return GateAnswer(gate=gate, passed=passed, observed=observed, limit=limit, next_eligible=following)


_usual_answer = lru_cache(maxsize=4096, typed=True)(_answer)
"""Nine answers go with every decision, and most are the same for everybody: answers are immutable, and so shared."""


def ask(asking: Asking) -> Verdict:
    """Asks the gates in order, until one does not pass."""
    verdict = asking.verdict
    for gate, reason in _GATES:
        if not gate(asking):
            if verdict.outcome is not DecisionOutcome.DEFER:
                verdict.outcome = DecisionOutcome.DROP
            verdict.reason = reason
            break
    if verdict.outcome is DecisionOutcome.DEFER:
        _defer(asking)
    return verdict


def _defer(asking: Asking) -> None:
    verdict, until = asking.verdict, asking.verdict.until
    if until is not None and until < asking.expires_ms:
        return
    asking.answer(Gate.EXPIRY, False, until and as_time(until), as_time(asking.expires_ms))
    verdict.inputs["cause"] = verdict.reason
    verdict.outcome, verdict.reason, verdict.until = DecisionOutcome.DROP, Reason.EXPIRED, None


def _mode(asking: Asking) -> bool:
    trigger = asking.trigger
    scopes = ("global", f"trigger/{trigger.name}", f"purpose/{trigger.purpose}")
    paused = next((scope for scope in scopes if scope in asking.paused), None)
    if paused or trigger.mode == "off":
        return asking.answer(Gate.MODE, False, f"paused {paused}" if paused else "off")
    user_id = asking.turn.state.user_id
    outside = trigger.mode == "canary" and not in_canary(trigger.name, user_id, trigger.canary_percent)
    if trigger.mode == "shadow" or outside:
        asking.verdict.outcome, asking.verdict.reason = DecisionOutcome.SHADOW, Reason.MODE
    limit = f"{trigger.canary_percent:g}%" if trigger.mode == "canary" else None
    return asking.answer(Gate.MODE, True, "outside" if outside else trigger.mode, limit)


def _dedupe(asking: Asking) -> bool:
    repeated = asking.command_id in asking.turn.state.sent.get(asking.trigger.name, ())
    return asking.answer(Gate.DEDUPE, not repeated, asking.command_id if repeated else None)


def _suppression(asking: Asking) -> bool:
    suppressed = asking.turn.state.suppressed
    return asking.answer(Gate.SUPPRESSION, not suppressed, suppressed)


def _consent(asking: Asking) -> bool:
    purpose = asking.trigger.purpose
    if purpose == TRANSACTIONAL:
        return asking.answer(Gate.CONSENT, True, "not needed", purpose)
    consent = asking.turn.state.consent.get(purpose)
    observed = "unknown" if consent is None else "granted" if consent.granted else "refused"
    return asking.answer(Gate.CONSENT, consent is not None and consent.granted, observed, purpose)


def _when(asking: Asking) -> bool:
    condition = asking.trigger.when
    if condition is None:
        return asking.answer(Gate.WHEN, True)
    context = asking.context()
    if condition.code.scores:
        asking.verdict.inputs["scores"] = {n: round(context.score(n), 6) for n in sorted(condition.code.scores)}
    try:
        passed: bool = condition.holds(context)
        return asking.answer(Gate.WHEN, passed, passed, condition.text)
    except EvaluationError as error:
        asking.turn.problem(asking.trigger.name, "when", error)
        return asking.answer(Gate.WHEN, False, f"error: {error}", condition.text)


def _holdout(asking: Asking) -> bool:
    user_id = asking.turn.state.user_id
    for name, percent in asking.trigger.holdouts:
        if in_holdout(name, user_id, percent):
            if asking.verdict.outcome is DecisionOutcome.SEND:
                asking.verdict.outcome, asking.verdict.reason = DecisionOutcome.HELD_OUT, Reason.HOLDOUT
            return asking.answer(Gate.HOLDOUT, True, f"held out by {name}", f"{percent:g}%")
    return asking.answer(Gate.HOLDOUT, True)


def _expiry(asking: Asking) -> bool:
    late = duration_text(max(0, asking.now_ms - asking.occurrence.due))
    return asking.answer(Gate.EXPIRY, asking.now_ms < asking.expires_ms, late, as_time(asking.expires_ms))


def _quiet(asking: Asking) -> bool:
    if not asking.trigger.quiet:
        return asking.answer(Gate.QUIET, True)
    user_zone = asking.turn.zone()
    periods = [(each, (zone_named(each.period.zone or "") or user_zone)) for each in asking.trigger.quiet]
    holding = [each for each, zone in periods if inside(each.period, zone, asking.now_ms)]
    local = f"{as_time(asking.now_ms).astimezone(user_zone):%H:%M} {user_zone.key}"
    if not holding:
        return asking.answer(Gate.QUIET, True, local)
    until = first_outside([(each.period, zone) for each, zone in periods], asking.now_ms)
    if all(each.over == "defer" for each in holding):
        asking.verdict.outcome, asking.verdict.until = DecisionOutcome.DEFER, until
    return asking.answer(Gate.QUIET, False, local, str(holding[0].period), until)


def _cap(asking: Asking) -> bool:
    if not asking.trigger.caps:
        return asking.answer(Gate.CAP, True)
    kind = asking.verdict.outcome.value
    try:
        found = ask_caps(asking.turn, asking.trigger, asking.occurrence, asking.send, kind, asking.context())
    except EvaluationError as error:
        asking.turn.problem(asking.trigger.name, "cap.max", error)
        return asking.answer(Gate.CAP, False, f"error: {error}")
    if found.passed:
        return asking.answer(Gate.CAP, True, found.observed, found.limit)
    if found.defer:
        asking.verdict.outcome, asking.verdict.until = DecisionOutcome.DEFER, found.until
    return asking.answer(Gate.CAP, False, found.observed, found.limit, found.until)


_GATES: tuple[tuple[Callable[[Asking], bool], Reason], ...] = (
    (_mode, Reason.MODE),
    (_dedupe, Reason.DUPLICATE),
    (_suppression, Reason.SUPPRESSED),
    (_consent, Reason.NO_CONSENT),
    (_when, Reason.CONDITION),
    (_holdout, Reason.HOLDOUT),
    (_expiry, Reason.EXPIRED),
    (_quiet, Reason.QUIET),
    (_cap, Reason.CAP),
)
