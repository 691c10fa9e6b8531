"""The gates of one send, asked of a user's whole past: each counts or searches again, nothing is kept up to date."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from slow_model.past import Past, Sent, instant
from slow_model.rulebook import Cap, Quiet, Rule

MINUTE_MS = 60_000


def share_of(*words: str) -> float:
    """Where (0, 100) the hash of these words lies: assignment is a function of names alone."""
    digest = hashlib.blake2b(orjson.dumps(words), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2.0**64 * 100


@dataclass
class Verdict:
    """What the gates say: `kind` is send, shadow or held_out where all passed, else drop or defer."""

    kind: str
    reason: str | None
    answers: list[dict[str, Any]]
    until: int | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Question:
    """One send before its gates. `when` is its condition's answer, asked by whoever knows scores."""

    rule: Rule
    user_id: str
    command_id: str
    key_text: str | None
    due_ms: int
    now_ms: int
    paused: frozenset[str]
    when: bool


def ask(question: Question, past: Past) -> Verdict:
    """All gates in order: mode, dedupe, suppression, consent, when, holdout, expiry, quiet, cap."""
    rule, now_ms = question.rule, question.now_ms
    kind, reason = _mode(question)
    answers: list[dict[str, Any]] = []

    def stops(gate: str, passed: bool, **more: Any) -> bool:
        answers.append({"gate": gate, "passed": passed, **more})
        return not passed

    if stops("mode", kind != "off"):
        return Verdict("drop", "mode", answers)
    sent_before = any(each.command_id == question.command_id and each.kind == "send" for each in past.sent)
    if stops("dedupe", not sent_before):
        return Verdict("drop", "duplicate", answers)
    if stops("suppression", not past.suppressed()):
        return Verdict("drop", "suppressed", answers)
    if stops("consent", rule.purpose == "transactional" or past.consents_to(rule.purpose)):
        return Verdict("drop", "no_consent", answers)
    if stops("when", question.when):
        return Verdict("drop", "condition", answers)
    if any(share_of("holdout", name, question.user_id) < percent for name, percent in rule.holdouts) and kind == "send":
        kind, reason = "held_out", "holdout"
    stops("holdout", True)
    expires_ms = question.due_ms + rule.expires_ms
    if stops("expiry", now_ms < expires_ms, limit=instant(expires_ms)):
        return Verdict("drop", "expired", answers)
    zone = zone_of(past.zone())
    holding = [each for each in rule.quiet if is_quiet(each, zone, now_ms)]
    if holding:
        until = first_loud(rule.quiet, zone, now_ms)
        stops("quiet", False, next_eligible=instant(until))
        return _deferred("quiet", until if all(q.over == "defer" for q in holding) else None, expires_ms, answers)
    stops("quiet", True)
    return _caps(question, past, zone, kind, reason, answers)


def _mode(question: Question) -> tuple[str, str | None]:
    rule = question.rule
    scopes = {"global", f"trigger/{rule.name}", f"purpose/{rule.purpose}"}
    if scopes & question.paused or rule.mode == "off":
        return "off", None
    outside = rule.mode == "canary" and share_of("canary", rule.name, question.user_id) >= rule.percent
    return ("shadow", "mode") if rule.mode == "shadow" or outside else ("send", None)


def _deferred(reason: str, until: int | None, expires_ms: int, answers: list[dict[str, Any]]) -> Verdict:
    if until is None:
        return Verdict("drop", reason, answers)
    if until < expires_ms:
        return Verdict("defer", reason, answers, until)
    answers.append({"gate": "expiry", "passed": False, "limit": instant(expires_ms), "next_eligible": instant(until)})
    return Verdict("drop", "expired", answers, cause=reason)


def _caps(
    question: Question, past: Past, zone: ZoneInfo, kind: str, reason: str | None, answers: list[dict[str, Any]]
) -> Verdict:
    caps = question.rule.caps
    counted = [counted_in(cap, question, past, zone, kind) for cap in caps]
    full = [(cap, times) for cap, times in zip(caps, counted, strict=True) if len(times) >= cap.max]
    if full:
        cap, times = full[0]
        until = max(room_at(each, seen, zone, question.now_ms) for each, seen in full)
        shown = {"observed": len(times), "limit": limit_text(cap), "next_eligible": instant(until)}
        answers.append({"gate": "cap", "passed": False, **shown})
        expires_ms = question.due_ms + question.rule.expires_ms
        return _deferred("cap", until if all(c.over == "defer" for c, _ in full) else None, expires_ms, answers)
    if caps:
        nearest = min(range(len(caps)), key=lambda number: caps[number].max - len(counted[number]))
        more = {"observed": len(counted[nearest]), "limit": limit_text(caps[nearest])}
    answers.append({"gate": "cap", "passed": True, **(more if caps else {})})
    return Verdict(kind, reason, answers)


def limit_text(cap: Cap) -> str:
    """A cap as decisions show it."""
    return f"{cap.max} per {cap.per} by {cap.scope}"


def counted_in(cap: Cap, question: Question, past: Past, zone: ZoneInfo, kind: str) -> list[int]:
    """The instants of the sends of this kind that stand in the cap's window and scope."""
    rule = question.rule

    def in_scope(each: Sent) -> bool:
        own = each.trigger == rule.name
        if cap.scope == "trigger":
            return own
        if cap.scope == "key":
            return own and each.key_text == question.key_text
        if each.purpose == "transactional" and rule.purpose != "transactional":
            return False
        return cap.scope != "purpose" or each.purpose == rule.purpose

    def in_window(at_ms: int) -> bool:
        if cap.rolling_ms is not None:
            return question.now_ms - cap.rolling_ms < at_ms <= question.now_ms
        return _calendar(cap.per, zone, at_ms) == _calendar(cap.per, zone, question.now_ms)

    standing = (each for each in past.sent if each.kind == kind and not past.released(each))
    return [each.at_ms for each in standing if in_window(each.at_ms) and in_scope(each)]


def room_at(cap: Cap, times: list[int], zone: ZoneInfo, now_ms: int) -> int:
    """The first instant at which fewer than the maximum of those counted stand in the window."""
    rolling_ms = cap.rolling_ms
    if rolling_ms is None:
        return _next_window(cap.per, zone, now_ms)
    leaving = sorted(at_ms + rolling_ms for at_ms in times)
    return next(at for at in leaving if sum(other > at for other in leaving) < cap.max)


def zone_of(name: str | None) -> ZoneInfo:
    """The user's zone, UTC where it is unknown or empty."""
    return known_zone(name) or ZoneInfo("UTC")


def known_zone(name: str | None) -> ZoneInfo | None:
    """The zone of a name, None where there is none."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError):
        return None


def _day(zone: ZoneInfo, at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, zone).date()


def _calendar(unit: str, zone: ZoneInfo, at_ms: int) -> tuple[int, ...]:
    day = _day(zone, at_ms)
    if unit == "calendar day":
        return day.year, day.month, day.day
    return day.isocalendar()[:2] if unit == "calendar week" else (day.year, day.month)


def _next_window(unit: str, zone: ZoneInfo, now_ms: int) -> int:
    """The first instant of the next local day, week or month: found day by day."""
    day = _day(zone, now_ms)
    while True:
        day += timedelta(days=1)
        midnight = datetime.combine(day, time(), zone).astimezone(UTC)
        at_ms = int(midnight.timestamp()) * 1000
        if _calendar(unit, zone, at_ms) != _calendar(unit, zone, now_ms):
            return at_ms


def is_quiet(quiet: Quiet, user_zone: ZoneInfo, at_ms: int) -> bool:
    """Whether a local clock reads a time in the period."""
    zone = ZoneInfo(quiet.zone) if quiet.zone else user_zone
    reading = f"{datetime.fromtimestamp(at_ms // 1000, zone):%H:%M}"
    if quiet.start < quiet.end:
        return quiet.start <= reading < quiet.end
    return reading >= quiet.start or reading < quiet.end


def first_loud(periods: tuple[Quiet, ...], zone: ZoneInfo, now_ms: int) -> int:
    """The first whole minute after now that is in none of the periods."""
    at_ms = now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS
    while any(is_quiet(each, zone, at_ms) for each in periods):
        at_ms += MINUTE_MS
    return at_ms
