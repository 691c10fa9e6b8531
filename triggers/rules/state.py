"""A user's state: everything the evaluator remembers of one user.

What is pruned and when: event ids after 64 or 24 h, reservations when outside every window, remembered keys after 256
a rule, command ids after 128 a rule, goals when their time is over, events of an unfinished sequence after 64 a
sequence or when nothing that may still arrive could finish it.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from msgspec import Struct

from triggers.measures.decay import ScoreState
from triggers.measures.windows import WindowState


class StoredEvent(Struct, array_like=True):
    """An event as rules see it."""

    id: str
    type: str
    time_ms: int
    source: str
    properties: dict[str, Any]


@dataclass(slots=True)
class User:
    """What is known of a user, as rules see it."""

    id: str
    zone: str | None = None
    locale: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


class StoredConsent(NamedTuple):
    """One purpose's consent and since when."""

    granted: bool
    at: int


class LevelState(Struct, array_like=True):
    """Where one trigger's crossing stands: armed, when it will cross, and the last crossing that began nothing."""

    armed: bool
    due: int | None = None
    stale_at: int | None = None


class Membership(Struct, array_like=True):
    """Whether the user was in a segment at its last evaluation, and when it is evaluated next without an event."""

    inside: bool
    due: int | None = None


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
    since: int | None = None
    """When the wait for a slot, a timestamp or, where it is held, a first profile began; None in no such wait."""


def occurrence_id(key: Any, began: str) -> str:
    """What an occurrence is named by: its key, where it has one, and what it began with. JSON."""
    return orjson.dumps([key, began] if key is not None else [began]).decode()


def text_of_key(key: Any) -> str | None:
    """The key as JSON, by which occurrences, caps and reentry compare it; None for none."""
    return None if key is None else orjson.dumps(key).decode()


class Reservation(NamedTuple):
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


class OpenGoal(NamedTuple):
    """A send or holdout whose goal has not been reached yet. `same` are the entry event's values."""

    trigger: str
    rule_hash: str
    occurrence: str
    step: str
    command_id: str | None
    at: int
    until: int
    same: list[Any]


class UnlessEvent(NamedTuple):
    """An `unless` event that is remembered: an entry that arrives later and is not newer is already over.

    `names` are the fields `same` of the pattern that it matched, and `same` their values: the rule may be edited before
    the entry arrives.
    """

    time_ms: int
    event_id: str
    names: list[str]
    same: list[Any]


class ScheduleState(Struct, array_like=True):
    """When a schedule or a date begins its trigger next, and the local day of that, in days since 1970-01-01.

    `fired` are the last days that it began something on: none begins anything twice.
    """

    due: int | None
    day: int
    fired: list[int]


class Link(Struct, array_like=True):
    """An event that no sequence has used: the numbers of the patterns it matches, and its values of `same`.

    The event is whole where it may end the sequence, for what begins then is about it.
    """

    time_ms: int
    id: str
    numbers: list[int]
    same: list[Any]
    event: StoredEvent | None = None


@dataclass(slots=True)
class UserState:
    """One user's state; made empty, filled by the evaluator only. Its bytes are made by `triggers.rules.encoding`."""

    user: User
    consent: dict[str, StoredConsent] = field(default_factory=dict)
    suppressed: bool = False
    address_digest: str = ""
    seen: dict[str, int] = field(default_factory=dict)
    scores: dict[str, ScoreState] = field(default_factory=dict)
    levels: dict[str, LevelState] = field(default_factory=dict)
    running: list[Occurrence] = field(default_factory=list)
    entries: dict[str, dict[str, int]] = field(default_factory=dict)
    unless_events: dict[str, list[UnlessEvent]] = field(default_factory=dict)
    reservations: list[Reservation] = field(default_factory=list)
    sent: dict[str, list[str]] = field(default_factory=dict)
    goals: list[OpenGoal] = field(default_factory=list)
    windows: dict[str, WindowState] = field(default_factory=dict)
    """What metrics and crossings count, by the key that `ruleset.StoredMetric` has."""
    segment_version: str = ""
    """The `segment_version` of the rule set whose segments were all evaluated."""
    segments: dict[str, Membership] = field(default_factory=dict)
    """Of those, the ones that the user is in, or may come to be in by time alone; the user is in no other."""
    profiled: bool = False
    """Whether there was ever a profile."""
    plan_version: str = ""
    """The `plan_version` of the rule set from which `plans` were made."""
    plans: dict[str, ScheduleState] = field(default_factory=dict)
    links: dict[str, list[Link]] = field(default_factory=dict)
    address_since: int = 0
    """When the profile's address last changed from another; mail decided before that went to the other one."""

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
        for membership in self.segments.values():
            if membership.due is not None and (earliest is None or membership.due < earliest):
                earliest = membership.due
        for plan in self.plans.values():
            if plan.due is not None and (earliest is None or plan.due < earliest):
                earliest = plan.due
        return earliest
