"""A user's state: everything the evaluator remembers of one user.

Limits: 64 event ids of the last 24 h; reservations while they are inside some window; 256 entry keys a rule; 128
command ids a rule; goals until their time is over; 64 events of an unfinished sequence, while an event that may still
arrive could finish it.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from msgspec import Struct

from triggers.measures.decay import ScoreState
from triggers.measures.windows import WindowState
from triggers.rules.events import StoredEvent


@dataclass(slots=True)
class User:
    """A user's profile as rules see it."""

    id: str
    zone: str | None = None
    locale: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


class StoredConsent(NamedTuple):
    """The user's answer for one purpose, and when it was given."""

    granted: bool
    at: int


class LevelState(Struct, array_like=True):
    """The state of one trigger's crossing: whether it is armed, when it will cross, and when it crossed too long ago to
    begin anything."""

    armed: bool
    due: int | None = None
    stale_at: int | None = None


class Membership(Struct, array_like=True):
    """Whether the user was in a segment at its last evaluation, and when it is evaluated again without an event."""

    inside: bool
    due: int | None = None


@dataclass(slots=True)
class Occurrence:
    """One run of a trigger.

    `due` is when its step is due. `wake` is when the step is tried: later than `due` while a send is held.
    """

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
    """When the wait for a slot, for a timestamp or, if `held`, for the first profile began; None in other waits."""


def occurrence_id(key: Any, began: str) -> str:
    """The occurrence's id: its key, if it has one, and the id of the event that began it, as JSON."""
    return orjson.dumps([key, began] if key is not None else [began]).decode()


def text_of_key(key: Any) -> str | None:
    """The key as JSON. Occurrences, caps and reentry compare keys in this form."""
    return None if key is None else orjson.dumps(key).decode()


class Reservation(NamedTuple):
    """One decided send. Caps count it, and outcomes find their rule by it. `kind` is send, shadow or held_out."""

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
    """A send or holdout whose goal is not reached yet. `same` holds the entry event's values of the `same` fields."""

    trigger: str
    rule_hash: str
    occurrence: str
    step: str
    command_id: str | None
    at: int
    until: int
    same: list[Any]


class UnlessEvent(NamedTuple):
    """A remembered `unless` event: an entry that arrives later and is not newer begins nothing.

    `names` are the `same` fields of the pattern that it matched and `same` are their values. Both are kept because the
    rule may change before the entry arrives.
    """

    time_ms: int
    event_id: str
    names: list[str]
    same: list[Any]


class ScheduleState(Struct, array_like=True):
    """When a schedule or date begins its trigger next, and the local day of that, in days since 1970-01-01.

    `fired` holds the last days on which it began something, so that no day begins anything twice.
    """

    due: int | None
    day: int
    fired: list[int]


class Link(Struct, array_like=True):
    """An event that waits to complete a sequence: the numbers of the patterns that it matches, and its `same` values.

    `event` is kept if it may be the last of the sequence, because it is then the entry event.
    """

    time_ms: int
    id: str
    numbers: list[int]
    same: list[Any]
    event: StoredEvent | None = None


@dataclass(slots=True)
class UserState:
    """One user's state. Only the evaluator changes it; `triggers.rules.encoding` turns it into bytes."""

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
    """What metrics and crossings count, by the key of their `StoredMetric`."""
    segment_version: str = ""
    """The `segment_version` of the rule set whose segments were all evaluated for this user."""
    segments: dict[str, Membership] = field(default_factory=dict)
    """The segments that the user is in, or may enter without an event. The user is in no other segment."""
    profiled: bool = False
    """Whether a profile ever arrived."""
    plan_version: str = ""
    """The `plan_version` of the rule set from which `plans` were made."""
    plans: dict[str, ScheduleState] = field(default_factory=dict)
    links: dict[str, list[Link]] = field(default_factory=dict)
    address_since: int = 0
    """When the profile's address last changed. Mail decided before that went to the earlier address."""

    @property
    def user_id(self) -> str:
        """The user whose state it is."""
        return self.user.id

    def next_due(self) -> int | None:
        """When the next timer is due, in milliseconds; None if no timer is set."""
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
