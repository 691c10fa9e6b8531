"""The gates of one send over a user's whole past: each counts or searches again, and keeps nothing up to date."""

import hashlib
import math
from collections.abc import KeysView
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from slow_model.localtime import first_loud, is_quiet, next_window, stands_in, wall, zone_of
from slow_model.past import CountedSend, Past, instant
from slow_model.rulebook import WEEKDAYS, Cap, Quiet, Rule

PROFILE_WAIT_MS = 30_000


def hash_of(*words: str) -> int:
    """A whole number below 2^64: assignment depends only on names."""
    return int.from_bytes(hashlib.blake2b(orjson.dumps(words), digest_size=8).digest(), "big")


def share_of(*words: str) -> float:
    """Where in (0, 100) the hash of these words lies."""
    return (hash_of(*words) + 0.5) / 2.0**64 * 100


def variant(rule: Rule, user_id: str) -> str | None:
    """The user's variant by weighted rendezvous hashing: of -weight / ln(hash in (0, 1)) the largest wins."""

    def rank(each: tuple[str, float]) -> float:
        name, weight = each
        return -weight / math.log(share_of("variant", rule.salt, user_id, name) / 100)

    weighted = sorted(each for each in rule.variants if each[1] > 0)
    return max(weighted, key=rank)[0] if weighted else None


@dataclass
class Verdict:
    """What the gates say: `kind` is send, shadow or held_out if all passed, else drop or defer."""

    kind: str
    reason: str | None
    answers: list[dict[str, Any]]
    until: int | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Question:
    """One send before its gates. The caller, who knows scores, evaluates the expressions for `when` and `maxima`."""

    rule: Rule
    user_id: str
    command_id: str
    key_text: str | None
    due_ms: int
    now_ms: int
    paused: frozenset[str]
    when: bool
    maxima: tuple[int, ...] | None
    """How many each cap of the rule allows; None if one fails."""
    unknown_since_ms: int | None = None
    """Since when the send has waited for the user's first profile."""
    endpoint: str | None = None
    """Of a webhook."""

    @property
    def webhook(self) -> bool:
        return self.endpoint is not None


def ask(question: Question, past: Past) -> Verdict:
    """All gates in order: mode, dedupe, suppression, consent, when, holdout, expiry, quiet, cap.

    A webhook is no message to the user: of it mode, dedupe, when and expiry are asked.
    """
    rule, now_ms = question.rule, question.now_ms
    kind, reason = _mode(question)
    answers: list[dict[str, Any]] = []

    def stops(gate: str, passed: bool, **more: Any) -> bool:
        answers.append({"gate": gate, "passed": passed, **more})
        return not passed

    if stops("mode", kind != "off", **_seen_mode(question, kind)):
        return Verdict("drop", "mode", answers)
    held_out = kind == "send" and not question.webhook and _is_held_out(question)
    own = "held_out" if held_out else kind
    if stops(
        "dedupe", not any(each.command_id == question.command_id and each.kind in ("send", own) for each in past.sent)
    ):
        return Verdict("drop", "duplicate", answers)
    if question.webhook:
        return _webhook(question, Verdict(kind, reason, answers))
    if stops("suppression", not past.suppressed(), observed=past.suppressed()):
        return Verdict("drop", "suppressed", answers)
    if rule.purpose != "transactional" and not past.knows_of(rule.consent):
        return _unknown(question, answers)
    consents = past.consents_to(rule.consent)
    if rule.purpose != "transactional" and consents and now_ms < past.paused_until_ms():
        ends = instant(past.paused_until_ms())
        stops("consent", False, observed="user_paused", limit=rule.consent, next_eligible=ends)
        return Verdict("drop", "user_paused", answers)
    if stops("consent", rule.purpose == "transactional" or consents, **_seen_consent(rule.consent, consents)):
        return Verdict("drop", "no_consent", answers)
    if stops("when", question.when):
        return Verdict("drop", "condition", answers)
    if held_out:
        kind, reason = "held_out", "holdout"
    stops("holdout", True, **_seen_holdout(question))
    expires_ms = question.due_ms + rule.expires_ms
    late_s = max(0, now_ms - question.due_ms) / 1000
    if stops("expiry", now_ms < expires_ms, observed=late_s, limit=instant(expires_ms)):
        return Verdict("drop", "expired", answers)
    zone = zone_of(past.zone())
    clock = {"local": f"{wall(zone, now_ms):%H:%M}", "zone": zone.key}
    holding = [each for each in rule.quiet if is_quiet(each, zone, now_ms)]
    if holding:
        defers = all(each.over == "defer" for each in holding)
        periods = tuple(each for each in rule.quiet if each.over == "defer") if defers else rule.quiet
        until = first_loud(periods, zone, now_ms)
        period = next((each for each in holding if each.over == "drop"), holding[0])
        stops("quiet", False, observed=clock, limit=stored_period(period), next_eligible=instant(until))
        return _held("quiet", defers, until, expires_ms, answers)
    stops("quiet", True, observed=clock if rule.quiet else None)
    return _caps(question, past, zone, kind, reason, answers)


def _webhook(question: Question, verdict: Verdict) -> Verdict:
    expires_ms = question.due_ms + question.rule.expires_ms
    late_s = max(0, question.now_ms - question.due_ms) / 1000
    verdict.answers.append({"gate": "when", "passed": question.when})
    if not question.when:
        return Verdict("drop", "condition", verdict.answers)
    in_time = question.now_ms < expires_ms
    verdict.answers.append({"gate": "expiry", "passed": in_time, "observed": late_s, "limit": instant(expires_ms)})
    return verdict if in_time else Verdict("drop", "expired", verdict.answers)


def _unknown(question: Question, answers: list[dict[str, Any]]) -> Verdict:
    """No profile was ever seen, which is not a no: it is waited for, half a minute at most, and up to the expiry."""
    since_ms = question.now_ms if question.unknown_since_ms is None else question.unknown_since_ms
    ends_ms, expires_ms = since_ms + PROFILE_WAIT_MS, question.due_ms + question.rule.expires_ms
    answer = {"gate": "consent", "passed": False, "observed": "no_profile", "limit": question.rule.consent}
    answers.append(answer)
    if question.now_ms < min(ends_ms, expires_ms):
        until = min(ends_ms, expires_ms)
        answer["next_eligible"] = instant(until)
        return Verdict("defer", "profile_unknown", answers, until)
    if ends_ms < expires_ms:
        return Verdict("drop", "profile_unknown", answers)
    answers.append({"gate": "expiry", "passed": False, "limit": instant(expires_ms)})
    return Verdict("drop", "expired", answers, cause="profile_unknown")


def _scopes(question: Question) -> KeysView[str]:
    """What can be paused of a send, the widest first."""
    rule = question.rule
    named = ["global", f"trigger/{rule.name}", f"purpose/{rule.purpose}", f"purpose/{rule.consent}"]
    named += [f"brand/{rule.brand}"] if rule.brand else []
    named += [f"endpoint/{question.endpoint}"] if question.endpoint else []
    return dict.fromkeys(named).keys()


def _mode(question: Question) -> tuple[str, str | None]:
    rule = question.rule
    if _scopes(question) & question.paused or rule.mode == "off":
        return "off", None
    outside = rule.mode == "canary" and share_of("canary", rule.name, question.user_id) >= rule.percent
    return ("shadow", "mode") if rule.mode == "shadow" or outside else ("send", None)


def _seen_mode(question: Question, kind: str) -> dict[str, Any]:
    """What the gate `mode` stores: the mode, in a canary where the user stands, or the widest scope that is paused."""
    rule = question.rule
    for scope in _scopes(question):
        if scope in question.paused:
            return {"observed": {"paused": scope}}
    if rule.mode != "canary":
        return {"observed": rule.mode}
    return {"observed": "outside" if kind == "shadow" else "canary", "limit": rule.percent}


def _seen_holdout(question: Question) -> dict[str, Any]:
    inside = [each for each in question.rule.holdouts if share_of("holdout", each[0], question.user_id) < each[1]]
    return {"observed": inside[0][0], "limit": inside[0][1]} if inside else {"observed": None, "limit": None}


def _seen_consent(purpose: str, consents: bool) -> dict[str, Any]:
    if purpose == "transactional":
        return {"observed": "not_needed", "limit": purpose}
    return {"limit": purpose, **({"observed": "granted"} if consents else {})}


def _is_held_out(question: Question) -> bool:
    return any(share_of("holdout", name, question.user_id) < percent for name, percent in question.rule.holdouts)


def _held(reason: str, defers: bool, until: int | None, expires_ms: int, answers: list[dict[str, Any]]) -> Verdict:
    """Dropped, or put off to an instant before the expiry; what would never pass is never before it."""
    if not defers:
        return Verdict("drop", reason, answers)
    if until is not None and until < expires_ms:
        return Verdict("defer", reason, answers, until)
    late = {"gate": "expiry", "passed": False, "limit": instant(expires_ms)}
    answers.append(late if until is None else {**late, "next_eligible": instant(until)})
    return Verdict("drop", "expired", answers, cause=reason)


def _caps(
    question: Question, past: Past, zone: ZoneInfo, kind: str, reason: str | None, answers: list[dict[str, Any]]
) -> Verdict:
    caps, maxima = question.rule.caps, question.maxima
    if maxima is None:
        answers.append({"gate": "cap", "passed": False, "observed": {"error": ""}})
        return Verdict("drop", "cap", answers)
    counted = [counted_in(cap, question, past, zone, kind) for cap in caps]
    full = [each for each in zip(caps, maxima, counted, strict=True) if len(each[2]) >= each[1]]
    if full:
        cap, most, times = full[0]
        rooms = [leaves_at(each, most, seen, zone, question) for each, most, seen in full]
        until = None if None in rooms else max(room for room in rooms if room is not None)
        shown: dict[str, Any] = {"observed": len(times), "limit": stored_cap(cap, most)}
        if until is not None:
            shown["next_eligible"] = instant(until)
        answers.append({"gate": "cap", "passed": False, **shown})
        expires_ms = question.due_ms + question.rule.expires_ms
        return _held("cap", all(cap.over == "defer" for cap, _, _ in full), until, expires_ms, answers)
    if caps:
        nearest = min(range(len(caps)), key=lambda number: maxima[number] - len(counted[number]))
        more = {"observed": len(counted[nearest]), "limit": stored_cap(caps[nearest], maxima[nearest])}
    answers.append({"gate": "cap", "passed": True, **(more if caps else {})})
    return Verdict(kind, reason, answers)


def stored_cap(cap: Cap, most: int) -> dict[str, Any]:
    """A cap as decisions store it."""
    return {"max": most, "per": cap.per, "by": cap.scope, **({"spread": cap.spread} if cap.spread else {})}


def stored_period(period: Quiet) -> dict[str, Any]:
    """A quiet period as decisions store it."""
    ends = {"from": period.start, "through": period.through} if period.through else period_of_day(period)
    return ends if period.zone is None else {**ends, "zone": period.zone}


def period_of_day(period: Quiet) -> dict[str, Any]:
    """A daily quiet period: its days are the first three letters of each, in the order of the week."""
    days = [day for day in WEEKDAYS if day in {each[:3] for each in period.days}]
    return {"from": period.start, "to": period.end, **({"days": days} if days else {})}


def counted_in(cap: Cap, question: Question, past: Past, zone: ZoneInfo, kind: str) -> list[int]:
    """The instants of the sends that stand in the cap's window and scope: real ones, and for a send that is only
    recorded those of its own kind too. What was recorded first and really sent later counts as sent."""
    rule = question.rule

    def in_scope(each: CountedSend) -> bool:
        own = each.trigger == rule.name
        if cap.scope == "trigger":
            return own
        if cap.scope == "key":
            return own and each.key_text == question.key_text
        if each.purpose == "transactional" and rule.purpose != "transactional":
            return False
        if cap.scope == "brand":
            return each.brand == rule.brand
        return cap.scope != "purpose" or each.purpose == rule.purpose

    really = {each.command_id for each in past.sent if each.kind == "send"}
    counting = (
        each for each in past.sent if each.kind == "send" or (each.kind == kind and each.command_id not in really)
    )
    standing = (each for each in counting if not each.webhook and not past.released(each))
    return [
        each.at_ms for each in standing if stands_in(cap.window, zone, each.at_ms, question.now_ms) and in_scope(each)
    ]


def room_at(cap: Cap, most: int, times: list[int], zone: ZoneInfo, now_ms: int) -> int | None:
    """The first instant at which fewer than so many of those counted are in the window; None if 0 are allowed."""
    if most <= 0:
        return None
    if cap.window.ms is None:
        return next_window(cap.window, zone, now_ms)
    leaving = sorted(at_ms + cap.window.ms for at_ms in times)
    return next(at for at in leaving if sum(other > at for other in leaving) < most)


def leaves_at(cap: Cap, most: int, times: list[int], zone: ZoneInfo, question: Question) -> int | None:
    """When a send that waits for room leaves: where the user's hash lies in the `spread` after it, or in what of that
    is left before the expiry."""
    room = room_at(cap, most, times, zone, question.now_ms)
    if room is None:
        return None
    span = min(cap.spread_ms, question.due_ms + question.rule.expires_ms - room)
    return room + max(span, 0) * hash_of("spread", question.rule.name, question.user_id) // 2**64
