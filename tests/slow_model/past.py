"""A user's whole past, kept as it came: what was seen, sent and given back. Questions go through all of it again."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

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


class Sent(NamedTuple):
    """A decision that counts: kind is send, shadow or held_out."""

    number: int
    command_id: str
    at_ms: int
    kind: str
    trigger: str
    key_text: str | None
    purpose: str
    occurrence: str
    step: str


class Points(NamedTuple):
    """What one event added to a score or a count."""

    time_ms: int
    event_id: str
    points: float


@dataclass
class Past:
    """Everything that happened to one user."""

    ids: list[tuple[str, int]] = field(default_factory=list)
    events: list[Seen] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    given_back: dict[str, int] = field(default_factory=dict)
    """By command id, how many sends there were when its outcome said that nobody accepted it."""
    entries: list[tuple[str, str | None, int]] = field(default_factory=list)
    """Trigger, key, instant of each entry, restarts too."""
    words: list[tuple[str, Any]] = field(default_factory=list)
    """Profiles and the outcomes that speak of consent and addresses, in order."""
    added: dict[str, list[Points]] = field(default_factory=dict)

    def is_repeated(self, event_id: str, now_ms: int) -> bool:
        """Whether the id is one of the last 64 remembered within 24 h; it is remembered from now on."""
        repeated = any(known == event_id and now_ms - at < DAY_MS for known, at in self.ids[-REMEMBERED_IDS:])
        if not repeated:
            self.ids.append((event_id, now_ms))
        return repeated

    def released(self, sent: Sent) -> bool:
        """Whether its reservation was given back."""
        return self.given_back.get(sent.command_id, -1) > sent.number

    def sent_as(self, command_id: str) -> Sent | None:
        """The send of a command whose reservation stands."""
        return next((each for each in self.sent if each.command_id == command_id and not self.released(each)), None)

    def profile(self) -> dict[str, Any]:
        """The last profile."""
        return next((said for kind, said in reversed(self.words) if kind == "profile"), {})

    def zone(self) -> str | None:
        return self.profile().get("zone")

    def consents_to(self, purpose: str) -> bool:
        """The last word on consent; a profile's does not stand where it is older than an unsubscription."""
        granted, at_ms = False, -1
        for kind, said in self.words:
            if kind == "profile":
                told = said.get("consent", {}).get(purpose)
                if told is None:
                    granted, at_ms = False, -1
                elif not (told["granted"] and not granted and at_ms > ms(told["time"])):
                    granted, at_ms = told["granted"], ms(told["time"])
            elif kind == "unsubscribed" and said[0] == purpose:
                granted, at_ms = False, said[1]
        return granted

    def suppressed(self) -> bool:
        """Whether a complaint or a permanent bounce was the last word on the present address."""
        suppressed, address = False, ""
        for kind, said in self.words:
            if kind == "profile" and (said.get("address") or "").lower() != address:
                suppressed, address = False, (said.get("address") or "").lower()
            elif kind == "suppress":
                suppressed = True
        return suppressed

    def last_entry(self, trigger: str, key_text: str | None) -> int | None:
        found = (at for name, key, at in reversed(self.entries) if name == trigger and key == key_text)
        return next(found, None)


def faded(added: Iterable[Points], half_life_ms: int, ceiling: float | None, at_ms: int) -> float:
    """A score's value at an instant, from all that was added by then; a ceiling cuts after each in (time, id) order."""
    if ceiling is None:
        return sum(p.points * 2.0 ** ((p.time_ms - at_ms) / half_life_ms) for p in added if p.time_ms <= at_ms)
    total, since = 0.0, 0
    for time_ms, _, points in sorted(added):
        if time_ms <= at_ms:
            total = min(total * 2.0 ** ((since - time_ms) / half_life_ms) + points, ceiling)
            since = time_ms
    return total * 2.0 ** ((since - at_ms) / half_life_ms)


def count_in(added: Iterable[Points], within_ms: int, at_ms: int) -> float:
    """How many stand in (at - within, at]."""
    return sum(at_ms - within_ms < each.time_ms <= at_ms for each in added)
