"""A user's whole past, kept as it came: what was seen, sent and given back. Questions go through all of it again."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from slow_model.localtime import stands_in
from slow_model.rulebook import Curve, Measure
from slow_model.timeline import ms

DAY_MS = 86_400_000
REMEMBERED_IDS = 64
NEVER_ACCEPTED = ("suppressed", "expired", "refused", "failed")


def instant(at_ms: int) -> str:
    """An instant as decisions carry it."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000)
    return moment.isoformat().replace("+00:00", "Z")


class Seen(NamedTuple):
    """An event as rules see it."""

    id: str
    type: str
    time_ms: int
    source: str
    properties: dict[str, Any]


class CountedSend(NamedTuple):
    """A decision that counts: kind is send, shadow or held_out. `entry` is the entry event as of then."""

    number: int
    command_id: str
    at_ms: int
    kind: str
    trigger: str
    key_text: str | None
    purpose: str
    brand: str | None
    consent: str
    occurrence: str
    step: str
    entry: Seen
    webhook: bool = False


class Ended(NamedTuple):
    """An event that matched a rule's `unless` when it arrived."""

    trigger: str
    same: tuple[str, ...]
    event: Seen


class Stage(NamedTuple):
    """An event that matched a sequence's patterns of these numbers when it arrived."""

    sequence: str
    numbers: frozenset[int]
    event: Seen


class Points(NamedTuple):
    """What one event added to a score; or to what is measured, as (worth, name)."""

    time_ms: int
    event_id: str
    points: Any


@dataclass
class Past:
    """Everything that happened to one user."""

    ids: list[tuple[str, int]] = field(default_factory=list)
    sent: list[CountedSend] = field(default_factory=list)
    given_back: dict[str, int] = field(default_factory=dict)
    """By command id, how many sends there were when its outcome reported that no server accepted it."""
    goals_reached: set[int] = field(default_factory=set)
    """Numbers of sends."""
    entries: list[tuple[str, str | None, int]] = field(default_factory=list)
    """Trigger, key, instant of each entry, restarts too."""
    words: list[tuple[str, Any]] = field(default_factory=list)
    """Profiles, those that cannot be read too, and the outcomes that speak of consent and addresses, in order."""
    added: dict[str, list[Points]] = field(default_factory=dict)
    """By score, metric or level, in the order of arrival."""
    ended: list[Ended] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    used: set[tuple[str, str]] = field(default_factory=set)
    """Sequence and event id of each event that a sequence has used."""
    fired: set[tuple[str, str]] = field(default_factory=set)
    """Source and local date of each slot and date that came."""
    address_since_ms: int = 0
    """When the address last changed from another."""

    def is_repeated(self, event_id: str, now_ms: int) -> bool:
        """Whether the id is one of the last 64 remembered within 24 h; it is remembered from now on."""
        repeated = any(known == event_id and now_ms - at < DAY_MS for known, at in self.ids[-REMEMBERED_IDS:])
        if not repeated:
            self.ids.append((event_id, now_ms))
        return repeated

    def released(self, sent: CountedSend) -> bool:
        """Whether its reservation was given back."""
        return self.given_back.get(sent.command_id, -1) > sent.number

    def sent_as(self, command_id: str) -> CountedSend | None:
        """The send of a command whose reservation stands."""
        mails = (each for each in self.sent if not each.webhook)
        standing = [each for each in mails if each.command_id == command_id and not self.released(each)]
        return next((each for each in standing if each.kind == "send"), standing[0] if standing else None)

    def profile(self) -> dict[str, Any]:
        """The last profile that could be read."""
        return next((body for kind, body in reversed(self.words) if kind == "profile"), {})

    def zone(self) -> str | None:
        return self.profile().get("zone")

    def knows_of(self, purpose: str) -> bool:
        """Whether any record decided consent to a purpose: a profile, an unsubscription, or refusals in an unreadable
        profile."""
        return any(
            kind == "profile"
            or (kind == "unsubscribed" and body[0] == purpose)
            or (kind == "unreadable" and purpose in body)
            for kind, body in self.words
        )

    def consents_to(self, purpose: str) -> bool:
        """The latest decision on consent; a profile's does not count if it is older than an unsubscription.

        An unreadable profile withdraws all consent; of its own answers only the refusals count. If it is unknown
        which command the user unsubscribed from, the user unsubscribed from all.
        """
        granted, at_ms = False, -1
        for kind, body in self.words:
            if kind == "profile":
                answer = body.get("consent", {}).get(purpose)
                if answer is None:
                    granted, at_ms = False, -1
                elif not (answer["granted"] and not granted and at_ms > ms(answer["time"])):
                    granted, at_ms = answer["granted"], ms(answer["time"])
            elif kind == "unreadable":
                at_ms = max(-1 if granted else at_ms, body.get(purpose, -1))
                granted = False
            elif kind == "unsubscribed" and (body[0] == purpose or (body[0] is None and granted)):
                granted, at_ms = False, body[1]
        return granted

    def paused_until_ms(self) -> int:
        """The end of the pause that the last profile with one names, since a profile without one leaves it."""
        ends = (
            body["paused_until"]
            for kind, body in reversed(self.words)
            if kind == "profile" and body.get("paused_until")
        )
        return ms(next(ends, "1970-01-01T00:00:00Z"))

    def suppressed(self) -> bool:
        """Whether a complaint or a hard refusal or bounce was the last word on the present address."""
        suppressed, address = False, ""
        for kind, body in self.words:
            if kind == "profile" and (body.get("address") or "").lower() != address:
                suppressed, address = False, (body.get("address") or "").lower()
            elif kind in ("suppress", "reinstate"):
                suppressed = kind == "suppress"
        return suppressed

    def last_entry(self, trigger: str, key_text: str | None) -> int | None:
        found = (at for name, key, at in reversed(self.entries) if name == trigger and key == key_text)
        return next(found, None)


def faded(added: Iterable[Points], curve: Curve, ceiling: float | None, at_ms: int) -> float:
    """A score's value at an instant, from all that was added by then, in the order of arrival.

    A late addition counts as if it had come in time, but for the ceiling: the score keeps what it has, and the addition
    that arrives is cut so that the score is not above its ceiling as of its newest addition.
    """
    counted = added if ceiling is None else _let_in(added, curve, ceiling)
    return _worth_at(at_ms, (each for each in counted if each.time_ms <= at_ms), curve)


def _let_in(added: Iterable[Points], curve: Curve, ceiling: float) -> list[Points]:
    """What the ceiling leaves of each addition."""
    let_in: list[Points] = []
    newest_ms = 0
    for each in added:
        newest_ms = max(newest_ms, each.time_ms)
        room = max(0.0, ceiling - _worth_at(newest_ms, let_in, curve))
        share = curve.share(newest_ms - each.time_ms)
        let_in.append(each if each.points * share <= room else each._replace(points=room / share))
    return let_in


def _worth_at(at_ms: int, added: Iterable[Points], curve: Curve) -> float:
    return math.fsum(each.points * curve.share(at_ms - each.time_ms) for each in added)


@dataclass(frozen=True)
class Measured:
    """What a measure says at an instant. `first` and `last` are None if nothing is in the window."""

    count: int
    sum: float
    distinct: int
    first_ms: int | None
    last_ms: int | None


def measured(added: Iterable[Points], measure: Measure, zone: ZoneInfo, at_ms: int) -> Measured:
    """Counts everything in the window again."""
    inside = [each for each in added if stands_in(measure.window, zone, each.time_ms, at_ms)]
    inside.sort(key=lambda each: (each.time_ms, each.event_id))
    return Measured(
        len(inside),
        math.fsum(each.points[0] for each in inside),
        len({each.points[1] for each in inside}),
        inside[0].time_ms if inside else None,
        inside[-1].time_ms if inside else None,
    )
