"""The gates of a send, in order: mode, dedupe, suppression, consent, when, holdout, expiry, quiet, cap.

Each gives one recorded answer. The first that does not pass decides; a deferral that would not end before the expiry
is a drop now, with both answers visible. In shadow, outside a canary and in a holdout the remaining gates are asked
against the real sends and, on top of these, what was recorded for the same cause; what passes is recorded, not sent.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from schemas.numbers import whole
from schemas.vocabulary import TRANSACTIONAL, DecisionOutcome, Gate, Reason
from schemas.zones import zone_named
from triggers.cel.conditions import Condition, Context
from triggers.cel.runtime import EvaluationError, as_time
from triggers.engine.caps import ask_caps
from triggers.engine.records import Answer
from triggers.engine.turn import Turn
from triggers.measures.localtime import covers, first_outside, reading
from triggers.rules.assignment import in_canary, in_holdout
from triggers.rules.rule import Send, Trigger
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import Occurrence


@dataclass(slots=True)
class Verdict:
    """What the gates say. `outcome` is send, shadow or held_out where all passed; `until` is a deferral's instant."""

    outcome: DecisionOutcome = DecisionOutcome.SEND
    reason: Reason | None = None
    until: int | None = None
    answers: list[Answer] = field(default_factory=list)
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
    asked: Context | None = None

    @property
    def context(self) -> Context:
        """What the rule's expressions are asked about."""
        if self.asked is None:
            self.asked = self.turn.context(self.occurrence.event, self.occurrence, self.moment)
        return self.asked

    @property
    def expires_ms(self) -> int:
        """The instant from which the send is too late."""
        return self.occurrence.due + self.trigger.expires_ms


def ask(asking: Asking) -> Verdict:
    """Asks the gates in order, until one does not pass."""
    verdict = asking.verdict
    answers = verdict.answers
    for gate, reason in _GATES:
        answer = gate(asking)
        answers.append(answer)
        if not answer.passed:
            if verdict.outcome is not DecisionOutcome.DEFER:
                verdict.outcome = DecisionOutcome.DROP
            verdict.reason = Reason.PROFILE_UNKNOWN if answer.observed == NO_PROFILE else reason
            break
    if verdict.outcome is DecisionOutcome.DEFER:
        _defer(asking)
    return verdict


def _defer(asking: Asking) -> None:
    verdict, until = asking.verdict, asking.verdict.until
    if until is not None and (until < asking.expires_ms or verdict.reason is Reason.PROFILE_UNKNOWN):
        return
    verdict.answers.append(Answer(Gate.EXPIRY, False, None, None, asking.expires_ms, until))
    verdict.inputs["cause"] = verdict.reason
    verdict.outcome, verdict.reason, verdict.until = DecisionOutcome.DROP, Reason.EXPIRED, None


NO_PROFILE = "no profile"
"""What the consent gate sees of a user of whom no profile was ever read."""
_LIVE = Answer(Gate.MODE, True, "live")
_FIRST = Answer(Gate.DEDUPE, True)
_NOT_SUPPRESSED = Answer(Gate.SUPPRESSION, True, False)
_NO_CONSENT_NEEDED = Answer(Gate.CONSENT, True, "not needed", TRANSACTIONAL)
_NO_WHEN = Answer(Gate.WHEN, True)
_NOT_HELD_OUT = Answer(Gate.HOLDOUT, True)
_NEVER_QUIET = Answer(Gate.QUIET, True)
_NO_CAP = Answer(Gate.CAP, True)


def _mode(asking: Asking) -> Answer:
    trigger = asking.trigger
    if trigger.mode == "live" and not asking.paused:
        return _LIVE
    scopes = ("global", f"trigger/{trigger.name}", f"purpose/{trigger.purpose}")
    paused = next((scope for scope in scopes if scope in asking.paused), None)
    if paused or trigger.mode == "off":
        return Answer(Gate.MODE, False, f"paused {paused}" if paused else "off")
    user_id = asking.turn.state.user_id
    outside = trigger.mode == "canary" and not in_canary(trigger.name, user_id, trigger.canary_percent)
    if trigger.mode == "shadow" or outside:
        asking.verdict.outcome, asking.verdict.reason = DecisionOutcome.SHADOW, Reason.MODE
    limit = f"{trigger.canary_percent:g}%" if trigger.mode == "canary" else None
    return Answer(Gate.MODE, True, "outside" if outside else trigger.mode, limit)


def _dedupe(asking: Asking) -> Answer:
    sent = asking.turn.state.sent
    repeated = asking.command_id in sent.get(asking.trigger.name, ())
    kind = _recorded_as(asking)
    if kind is not None and not repeated:
        repeated = asking.command_id in sent.get(recorded_key(kind, asking.trigger.name), ())
    return Answer(Gate.DEDUPE, False, asking.command_id) if repeated else _FIRST


def recorded_key(kind: DecisionOutcome, trigger: str) -> str:
    """Under which key a state remembers commands that were only recorded; no trigger's name has a space."""
    return f"{kind} {trigger}"


def _recorded_as(asking: Asking) -> DecisionOutcome | None:
    """What the send is recorded as if it passes; None where it is really sent. The holdout is asked further down."""
    if asking.verdict.outcome is DecisionOutcome.SHADOW:
        return DecisionOutcome.SHADOW
    return DecisionOutcome.HELD_OUT if _held_out_by(asking) is not None else None


def _held_out_by(asking: Asking) -> tuple[str, float] | None:
    user_id = asking.turn.state.user_id
    return next((each for each in asking.trigger.holdouts if in_holdout(each[0], user_id, each[1])), None)


def _suppression(asking: Asking) -> Answer:
    return Answer(Gate.SUPPRESSION, False, True) if asking.turn.state.suppressed else _NOT_SUPPRESSED


def _consent(asking: Asking) -> Answer:
    purpose = asking.trigger.purpose
    if purpose == TRANSACTIONAL:
        return _NO_CONSENT_NEEDED
    consent = asking.turn.state.consent.get(purpose)
    if consent is None and not asking.turn.state.profiled:
        return _no_profile(asking)
    observed = "unknown" if consent is None else "granted" if consent.granted else "refused"
    return Answer(Gate.CONSENT, consent is not None and consent.granted, observed, purpose)


def _no_profile(asking: Asking) -> Answer:
    """A user never seen has not said no: the send waits for the first profile, which asks again at once.

    It waits from when it is first asked, and up to the expiry where that comes first; `_defer` names both then.
    """
    turn, occurrence, verdict = asking.turn, asking.occurrence, asking.verdict
    since = turn.now_ms if occurrence.since is None else occurrence.since
    ends = since + turn.profile_wait_ms
    until = min(ends, asking.expires_ms)
    waits = turn.now_ms < until
    if waits or asking.expires_ms <= ends:
        verdict.outcome, verdict.until = DecisionOutcome.DEFER, until if waits else None
    return Answer(Gate.CONSENT, False, NO_PROFILE, asking.trigger.purpose, None, verdict.until)


def _when(asking: Asking) -> Answer:
    condition = asking.trigger.when
    if condition is None:
        return _NO_WHEN
    context = asking.context
    asking.verdict.inputs |= _inputs(condition, asking.turn.rules, context)
    try:
        passed: bool = condition.holds(context)
        return Answer(Gate.WHEN, passed, passed, condition.text)
    except EvaluationError as error:
        asking.turn.problem(asking.trigger.name, "when", error)
        return Answer(Gate.WHEN, False, f"error: {error}", condition.text)


def _inputs(condition: Condition, rules: RuleSet, context: Context) -> dict[str, Any]:
    """The values that a condition reads besides the event and the user, of those that are still defined."""
    code, found = condition.code, dict[str, Any]()
    if code.scores:
        names = sorted(code.scores & rules.scores.keys())
        found["scores"] = {name: whole(round(context.score(name), 6)) for name in names}
    if code.metrics:
        there = sorted((name, part) for name, part in code.metrics if name in rules.metrics)
        found["metrics"] = {f"{name}.{part}": _shown(context, name, part) for name, part in there}
    if code.segments:
        found["segments"] = {name: context.segment(name) for name in sorted(code.segments & rules.segments.keys())}
    return found


def _shown(context: Context, metric: str, part: str) -> float | str | None:
    value = context.metric(metric, part)
    if value is None:
        return None
    return as_time(int(value)).isoformat() if part in ("first", "last") else whole(value)


def _holdout(asking: Asking) -> Answer:
    found = _held_out_by(asking)
    if found is None:
        return _NOT_HELD_OUT
    if asking.verdict.outcome is DecisionOutcome.SEND:
        asking.verdict.outcome, asking.verdict.reason = DecisionOutcome.HELD_OUT, Reason.HOLDOUT
    name, percent = found
    return Answer(Gate.HOLDOUT, True, f"held out by {name}", f"{percent:g}%")


def _expiry(asking: Asking) -> Answer:
    """Observed is how late the send is, in seconds."""
    now_ms, expires_ms = asking.turn.now_ms, asking.expires_ms
    late_s = whole(max(0, now_ms - asking.occurrence.due) / 1000)
    return Answer(Gate.EXPIRY, now_ms < expires_ms, late_s, None, expires_ms)


def _quiet(asking: Asking) -> Answer:
    """A deferral ends outside all periods that defer: what drops is asked there again (settled case 25)."""
    quiet = asking.trigger.quiet
    if not quiet:
        return _NEVER_QUIET
    now_ms, user_zone = asking.turn.now_ms, asking.turn.zone()
    wall = reading(user_zone, now_ms)
    zones = [zone_named(each.period.zone) if each.period.zone else None for each in quiet]
    placed = [(each, zone or user_zone) for each, zone in zip(quiet, zones, strict=True)]
    holding = [
        each for each, zone in placed if covers(each.period, wall if zone is user_zone else reading(zone, now_ms))
    ]
    local = f"{wall.hour:02d}:{wall.minute:02d} {user_zone.key}"
    if not holding:
        return Answer(Gate.QUIET, True, local)
    drops = [each for each in holding if each.over == "drop"]
    ending = [(each.period, zone) for each, zone in placed if drops or each.over == "defer"]
    until = first_outside(ending, now_ms)
    if not drops:
        asking.verdict.outcome, asking.verdict.until = DecisionOutcome.DEFER, until
    return Answer(Gate.QUIET, False, local, str((drops or holding)[0].period), None, until)


def _cap(asking: Asking) -> Answer:
    if not asking.trigger.caps:
        return _NO_CAP
    kind = str(asking.verdict.outcome)
    try:
        found = ask_caps(asking.turn, asking.trigger, asking.occurrence, asking.send, kind, asking.context)
    except EvaluationError as error:
        asking.turn.problem(asking.trigger.name, "cap.max", error)
        return Answer(Gate.CAP, False, f"error: {error}")
    if found.passed:
        return Answer(Gate.CAP, True, found.observed, found.limit)
    if found.counted:
        asking.verdict.inputs["counted"] = list(found.counted)
    if found.defer:
        asking.verdict.outcome, asking.verdict.until = DecisionOutcome.DEFER, found.until
    return Answer(Gate.CAP, False, found.observed, found.limit, None, found.until)


_GATES: tuple[tuple[Callable[[Asking], Answer], Reason], ...] = (
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
