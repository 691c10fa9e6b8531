"""A user's state: everything the evaluator remembers, and its compact, versioned encoding.

JSON arrays by position, under a version number. What is pruned and when: event ids after 64 or 24 h, reservations when
outside every window, remembered keys after 256 a rule, command ids after 128 a rule, goals when their time is over.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from triggers.decay import ScoreState

VERSION = 1


class UnknownVersion(ValueError):
    """State written by a newer program; run that one, or rebuild the state from the log."""

    def __init__(self, user_id: str, version: object) -> None:
        super().__init__(f"the state of user {user_id!r} has version {version!r}; this program knows {VERSION}")


@dataclass(slots=True)
class StoredEvent:
    """An event as rules see it."""

    id: str
    type: str
    time_ms: int
    source: str
    properties: dict[str, Any]

    def pack(self) -> list[Any]:
        return [self.id, self.type, self.time_ms, self.source, self.properties]


@dataclass(slots=True)
class User:
    """What is known of a user, as rules see it."""

    id: str
    zone: str | None = None
    locale: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Consent:
    """One purpose's consent and since when."""

    granted: bool
    at: int


@dataclass(slots=True)
class Level:
    """Where one trigger's crossing stands: armed, when it will cross, and the last crossing that began nothing."""

    armed: bool
    due: int | None = None
    stale_at: int | None = None


@dataclass(slots=True)
class Occurrence:
    """A trigger that runs. `due` is when its step is due; `wake` when to look, later where it settles or is held."""

    trigger: str
    rule_hash: str
    id: str
    key: Any
    key_text: str | None
    began: str
    event: StoredEvent
    entered_at: int
    variant: str | None
    step: int
    due: int
    wake: int
    held: bool = False

    def pack(self) -> list[Any]:
        return [
            self.trigger,
            self.rule_hash,
            self.id,
            self.key,
            self.key_text,
            self.began,
            self.event.pack(),
            self.entered_at,
            self.variant,
            self.step,
            self.due,
            self.wake,
            self.held,
        ]

    @classmethod
    def unpack(cls, packed: list[Any]) -> "Occurrence":
        trigger, rule_hash, name, key, key_text, began, event, *rest = packed
        return cls(trigger, rule_hash, name, key, key_text, began, StoredEvent(*event), *rest)


@dataclass(slots=True)
class Reservation:
    """One decided send, as caps count it and as outcomes find it. `kind` is send, shadow or held_out."""

    command_id: str
    at: int
    kind: str
    trigger: str
    key_text: str | None
    purpose: str
    channel: str
    occurrence: str
    step: str

    def pack(self) -> list[Any]:
        return [
            self.command_id,
            self.at,
            self.kind,
            self.trigger,
            self.key_text,
            self.purpose,
            self.channel,
            self.occurrence,
            self.step,
        ]


@dataclass(slots=True)
class OpenGoal:
    """A send or holdout whose goal has not been reached yet. `same` are the entry event's values."""

    trigger: str
    rule_hash: str
    occurrence: str
    step: str
    command_id: str | None
    at: int
    until: int
    same: list[Any]

    def pack(self) -> list[Any]:
        return [
            self.trigger,
            self.rule_hash,
            self.occurrence,
            self.step,
            self.command_id,
            self.at,
            self.until,
            self.same,
        ]


@dataclass(slots=True)
class Ending:
    """An `unless` event seen before anything ran: an entry that comes late and is not newer is already over."""

    time_ms: int
    event_id: str
    pattern: int
    same: list[Any]

    def pack(self) -> list[Any]:
        return [self.time_ms, self.event_id, self.pattern, self.same]


@dataclass(slots=True)
class UserState:
    """One user's state; made empty, filled by the evaluator only."""

    user: User
    consent: dict[str, Consent] = field(default_factory=dict)
    suppressed: bool = False
    address_digest: str = ""
    seen: dict[str, int] = field(default_factory=dict)
    scores: dict[str, ScoreState] = field(default_factory=dict)
    levels: dict[str, Level] = field(default_factory=dict)
    running: list[Occurrence] = field(default_factory=list)
    entries: dict[str, dict[str, int]] = field(default_factory=dict)
    endings: dict[str, list[Ending]] = field(default_factory=dict)
    reservations: list[Reservation] = field(default_factory=list)
    sent: dict[str, list[str]] = field(default_factory=dict)
    goals: list[OpenGoal] = field(default_factory=list)

    @property
    def user_id(self) -> str:
        """Whose state it is."""
        return self.user.id

    def next_due(self) -> int | None:
        """When the next timer is due, in milliseconds; None where nothing waits."""
        earliest: int | None = None
        for occurrence in self.running:
            if earliest is None or occurrence.wake < earliest:
                earliest = occurrence.wake
        for level in self.levels.values():
            if level.due is not None and (earliest is None or level.due < earliest):
                earliest = level.due
        return earliest

    def encode(self) -> bytes:
        """The state as bytes; `decode` gives an equal state."""
        user = self.user
        return orjson.dumps(
            [
                VERSION,
                [user.zone, user.locale, user.attributes],
                {purpose: [consent.granted, consent.at] for purpose, consent in self.consent.items()},
                self.suppressed,
                self.address_digest,
                self.seen,
                {name: [s.value, s.at, s.last_event, s.parts] for name, s in self.scores.items()},
                {name: [level.armed, level.due, level.stale_at] for name, level in self.levels.items()},
                [occurrence.pack() for occurrence in self.running],
                self.entries,
                {trigger: [ending.pack() for ending in endings] for trigger, endings in self.endings.items()},
                [reservation.pack() for reservation in self.reservations],
                self.sent,
                [goal.pack() for goal in self.goals],
            ]
        )

    @classmethod
    def decode(cls, user_id: str, raw: bytes | None) -> "UserState":
        """The state of `encode`'s bytes, an empty one of None; raises UnknownVersion for a newer program's."""
        if raw is None:
            return cls(User(user_id))
        packed = orjson.loads(raw)
        if not isinstance(packed, list) or not packed or packed[0] != VERSION:
            raise UnknownVersion(user_id, packed[0] if isinstance(packed, list) and packed else None)
        (
            _,
            profile,
            consent,
            suppressed,
            digest,
            seen,
            scores,
            levels,
            running,
            entries,
            endings,
            reservations,
            sent,
            goals,
        ) = packed
        return cls(
            User(user_id, *profile),
            {purpose: Consent(*each) for purpose, each in consent.items()},
            suppressed,
            digest,
            seen,
            {
                name: ScoreState(value, at, last, [(points, since) for points, since in parts])
                for name, (value, at, last, parts) in scores.items()
            },
            {name: Level(*each) for name, each in levels.items()},
            [Occurrence.unpack(each) for each in running],
            entries,
            {trigger: [Ending(*each) for each in several] for trigger, several in endings.items()},
            [Reservation(*each) for each in reservations],
            sent,
            [OpenGoal(*each) for each in goals],
        )
