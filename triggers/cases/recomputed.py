"""A recorded decision held against itself: from what it stored, does the answer follow that it gave?

Each gate's answer is computed again from the value seen and the limit; holdouts and canaries by their hash, quiet
periods by the local reading, the command's id by its parts. What a decision does not store is not asked.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

from schemas.commands import command_id
from schemas.decisions import Decision, GateAnswer
from schemas.numbers import number_text
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from schemas.zones import zone_named
from triggers.cel.conditions import Context, compile_condition
from triggers.cel.runtime import EvaluationError, as_ms
from triggers.cel.tree import SyntaxProblem
from triggers.engine.gates import NO_PROFILE
from triggers.measures.localtime import inside, reading
from triggers.measures.shapes import DailyPeriod, DatePeriod, Period, ShapeError, clock_time, weekday
from triggers.rules.assignment import in_canary, in_holdout

_REASONS = {
    Gate.MODE: Reason.MODE,
    Gate.DEDUPE: Reason.DUPLICATE,
    Gate.SUPPRESSION: Reason.SUPPRESSED,
    Gate.CONSENT: Reason.NO_CONSENT,
    Gate.WHEN: Reason.CONDITION,
    Gate.HOLDOUT: Reason.HOLDOUT,
    Gate.EXPIRY: Reason.EXPIRED,
    Gate.QUIET: Reason.QUIET,
    Gate.CAP: Reason.CAP,
}
_DEFERRING = (Gate.CONSENT, Gate.QUIET, Gate.CAP)
_NOTHING: Any = None
_YEARS = range(1970, 9999)
"""At the ends of the calendar, a local reading does not exist."""
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%")
_CAP = re.compile(r"(-?\d{1,9}) per .+ by \w+")
_DAILY = re.compile(r"(\d\d:\d\d) to (\d\d:\d\d)(?: on ([a-z, ]+))?(?: in (\S+))?")
_DATES = re.compile(r"(\d{4}-\d\d-\d\d) through (\d{4}-\d\d-\d\d)(?: in (\S+))?")


def differences(decision: Decision) -> list[str]:
    """What does not follow from what the decision stored; nothing where all of it does, or no gate was asked."""
    if not decision.gates:
        return []
    found = list(_order(decision))
    for answer in decision.gates:
        found += [f"{answer.gate}: {text}" for text in _CHECKS[answer.gate](decision, answer)]
    return found + list(_outcome(decision))


def _order(decision: Decision) -> Iterator[str]:
    """Gates are asked in order, to the first that does not pass; an expiry after a deferral stands behind it."""
    asked = [answer.gate for answer in decision.gates]
    deferred = len(asked) > 1 and asked[-1] is Gate.EXPIRY and asked[-2] in _DEFERRING
    first = asked[:-1] if deferred else asked
    if first != list(Gate)[: len(first)]:
        yield "the gates are not in their order"
    before = decision.gates[: -2 if deferred else -1]
    if not all(answer.passed for answer in before):
        yield "a gate was asked after one that did not pass"


def _outcome(decision: Decision) -> Iterator[str]:
    last = decision.gates[-1]
    reason = decision.reason
    if not last.passed:
        wanted = {DecisionOutcome.DROP}
        if last.gate in _DEFERRING and last.next_eligible is not None:
            wanted.add(DecisionOutcome.DEFER)
        due_to = Reason.PROFILE_UNKNOWN if last.observed == NO_PROFILE else _REASONS[last.gate]
        if decision.outcome not in wanted or reason is not due_to:
            yield f"the gate {last.gate} did not pass, but the decision is {_said(decision)}"
    elif decision.outcome is DecisionOutcome.DROP and reason is Reason.INVALID_DATA:
        return
    else:
        yield from _passed(decision)
    if decision.outcome is DecisionOutcome.SEND and decision.command_id != _command(decision):
        yield "the command's id is not that of this occurrence and step"


def _passed(decision: Decision) -> Iterator[str]:
    """All gates passed: mode and holdout say whether it is sent or only recorded."""
    seen = {answer.gate: str(answer.observed or "") for answer in decision.gates}
    recorded_only = seen.get(Gate.MODE) in ("shadow", "outside")
    held_out = seen.get(Gate.HOLDOUT, "").startswith("held out")
    wanted = DecisionOutcome.SHADOW if recorded_only else DecisionOutcome.HELD_OUT if held_out else DecisionOutcome.SEND
    if decision.outcome is not wanted:
        yield f"every gate passed, which gives {wanted}, but the decision is {_said(decision)}"


def _said(decision: Decision) -> str:
    return f"{decision.outcome} {decision.reason or ''}".strip()


def _command(decision: Decision) -> str:
    return command_id(decision.trigger, decision.user_id, decision.occurrence, decision.step)


def _follows(answer: GateAnswer, passes: bool) -> Iterator[str]:
    if answer.passed is not passes:
        yield f"it saw {answer.observed!r}, which {'passes' if passes else 'does not pass'}, and says otherwise"


def _mode(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    seen = str(answer.observed)
    yield from _follows(answer, seen in ("live", "shadow", "canary", "outside"))
    percent = _percent(answer.limit)
    if percent is None or seen not in ("canary", "outside"):
        return
    if in_canary(decision.trigger, decision.user_id, percent) is not (seen == "canary"):
        yield f"the user is {'outside' if seen == 'canary' else 'inside'} the canary of {answer.limit}"


def _dedupe(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    yield from _follows(answer, answer.observed is None)
    if answer.observed is not None and answer.observed != _command(decision):
        yield "the command that it saw is not that of this occurrence and step"


def _suppression(_decision: Decision, answer: GateAnswer) -> Iterator[str]:
    yield from _follows(answer, answer.observed is not True)


def _consent(_decision: Decision, answer: GateAnswer) -> Iterator[str]:
    yield from _follows(answer, answer.observed in ("granted", "not needed"))


def _when(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    yield from _follows(answer, answer.observed is True or answer.limit is None)
    if answer.observed in (True, False) and isinstance(answer.limit, str):
        found = _asked_of_scores(answer.limit, decision.inputs.get("scores"))
        if found is not None and found is not answer.observed:
            yield f"with the scores that were stored it is {str(found).lower()}"


def _asked_of_scores(text: str, scores: Any) -> bool | None:
    """What a `when` that names nothing but scores says of the stored ones; None where they are not enough to tell.

    Scores are stored to the millionth, so that an answer which a millionth changes is none.
    """
    if not isinstance(scores, dict):
        return None
    try:
        condition = compile_condition(text, "truth")
        if condition.code.roots != {"score"}:
            return None
        answers = {condition.holds(_with_scores(scores, by)) for by in (-1e-6, 0.0, 1e-6)}
    except (SyntaxProblem, EvaluationError, KeyError, TypeError, ValueError):
        return None
    return answers.pop() if len(answers) == 1 else None


def _with_scores(scores: Mapping[str, Any], by: float) -> Context:
    def score(name: str) -> float:
        return float(scores[name]) + by

    return Context(_NOTHING, _NOTHING, None, score, 0)


def _holdout(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    yield from _follows(answer, True)
    percent = _percent(answer.limit)
    name = str(answer.observed or "").removeprefix("held out by ")
    if percent is not None and not in_holdout(name, decision.user_id, percent):
        yield f"the user is not among the {answer.limit} that {name} holds out"


def _expiry(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    limit = _instant(answer.limit)
    if limit is None:
        yield "it names no instant"
        return
    asked_of = answer.next_eligible or decision.decided_at
    yield from _follows(answer, asked_of < limit)
    due = _instant(decision.inputs.get("due"))
    if due is not None and isinstance(answer.observed, int | float):
        late = max(0.0, (decision.decided_at - due).total_seconds())
        if abs(late - answer.observed) > 0.0005:
            yield f"it was {number_text(late)} s after due, and not {number_text(answer.observed)} s"


def _quiet(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    zone = zone_named(str(decision.inputs.get("zone", "")))
    moments = (decision.decided_at, answer.next_eligible or decision.decided_at)
    if zone is None or answer.observed is None or not all(moment.year in _YEARS for moment in moments):
        return
    at_ms = as_ms(decision.decided_at)
    wall = reading(zone, at_ms)
    if answer.observed != f"{wall.hour:02d}:{wall.minute:02d} {zone.key}":
        yield f"the clock in {zone.key} showed {wall:%H:%M}, and not {answer.observed}"
    period = _period(str(answer.limit)) if answer.limit is not None else None
    if period is None or answer.passed:
        return
    own = zone_named(period.zone) if period.zone else zone
    if own is not None and not inside(period, own, at_ms):
        yield f"{answer.limit} does not hold that moment"
    if own is not None and answer.next_eligible and inside(period, own, as_ms(answer.next_eligible)):
        yield f"{answer.limit} still holds the moment that it waits for"


def _cap(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    match = _CAP.fullmatch(str(answer.limit))
    if match and isinstance(answer.observed, int):
        yield from _follows(answer, answer.observed < int(match[1]))
    if answer.next_eligible is not None and answer.next_eligible <= decision.decided_at:
        yield "the room that it waits for was there already"


_CHECKS: Mapping[Gate, Callable[[Decision, GateAnswer], Iterator[str]]] = {
    Gate.MODE: _mode,
    Gate.DEDUPE: _dedupe,
    Gate.SUPPRESSION: _suppression,
    Gate.CONSENT: _consent,
    Gate.WHEN: _when,
    Gate.HOLDOUT: _holdout,
    Gate.EXPIRY: _expiry,
    Gate.QUIET: _quiet,
    Gate.CAP: _cap,
}


def _percent(limit: Any) -> float | None:
    match = _PERCENT.fullmatch(limit) if isinstance(limit, str) else None
    return float(match[1]) if match else None


def _instant(value: Any) -> datetime | None:
    """A stored instant: a time, or its text."""
    if isinstance(value, datetime):
        return value
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _period(text: str) -> Period | None:
    """A quiet period as decisions write it; None where it cannot be read."""
    try:
        if daily := _DAILY.fullmatch(text):
            days = frozenset(weekday(day) for day in daily[3].split(", ")) if daily[3] else None
            return DailyPeriod(clock_time(daily[1]), clock_time(daily[2]), days, daily[4])
        if dates := _DATES.fullmatch(text):
            return DatePeriod(date.fromisoformat(dates[1]), date.fromisoformat(dates[2]), dates[3])
    except (ShapeError, ValueError):
        return None
    return None
