"""A user's state: everything the evaluator remembers of one user.

Limits: 64 event ids of the last 24 h; reservations while they are inside some window; 256 entry keys a rule; 128
command ids a rule; goals until their time is over; 64 events of an unfinished sequence, while an event that may still
arrive could finish it.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from msgspec import Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from triggers.measures.decay import ScoreState
from triggers.measures.windows import WindowState
from triggers.rules.events import StoredEvent
from triggers.rules.seen import SeenIds


@dataclass(slots=True)
class User:
    """A user's profile as rules see it."""

    id: str
    zone: str | None = None
    locale: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


if TYPE_CHECKING:
    LazyEvent = Raw | StoredEvent
    LazyWindow = Raw | WindowState
else:  # msgspec decodes these as they are, and what reads them decodes them
    LazyEvent = LazyWindow = Raw

_decode_event = Decoder(StoredEvent).decode
_decode_window = Decoder(WindowState).decode


class StoredConsent(NamedTuple):
    """The user's answer for one purpose, and when it was given."""

    granted: bool
    at: int


class LevelState(Struct, array_like=True, gc=False):
    """The state of one trigger's crossing: whether it is armed, when it will cross, and when it crossed too long ago to
    begin anything."""

    armed: bool
    due: int | None = None
    stale_at: int | None = None


class Membership(Struct, array_like=True):
    """Whether the user was in a segment at its last evaluation, and when it is evaluated again without an event."""

    inside: bool
    due: int | None = None


class Occurrence(Struct, array_like=True, gc=False):
    """One run of a trigger.

    `due` is when its step is due. `wake` is when the step is tried: later than `due` while a send is held.
    """

    trigger: str
    rule_hash: str
    id: str
    key: Any
    key_text: str | None
    began: str
    stored_event: LazyEvent
    """The entry event, decoded when it is read."""
    entered_at: int
    variant: str | None
    step: int
    due: int
    wake: int
    held: bool = False
    since: int | None = None
    """When the wait for a slot, for a timestamp or, if `held`, for the first profile began; None in other waits."""

    @property
    def event(self) -> StoredEvent:
        """The entry event."""
        event = self.stored_event
        if isinstance(event, Raw):
            event = self.stored_event = _decode_event(event)
        return event

    @event.setter
    def event(self, event: StoredEvent) -> None:
        self.stored_event = event


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


def window_of(windows: dict[str, LazyWindow], key: str) -> WindowState | None:
    """A state's window, decoded when it is read for the first time; None if there is none."""
    window = windows.get(key)
    if isinstance(window, Raw):
        window = windows[key] = _decode_window(window)
    return window


def window_to_add(windows: dict[str, LazyWindow], key: str) -> WindowState:
    """A state's window, created if there is none."""
    window = window_of(windows, key)
    if window is None:
        window = windows[key] = WindowState()
    return window


class _Attributes:
    """The attributes of a state that are no fields of the array in which it is encoded."""

    user: User
    profiled: bool
    """Whether a profile ever arrived."""
    plan_version: str
    """The `plan_version` of the rule set from which `plans` were made."""
    seen: SeenIds
    scores: dict[str, ScoreState]
    levels: dict[str, LevelState]
    windows: dict[str, LazyWindow]
    """What metrics and crossings count, by the key of their `StoredMetric`; read them with `window_of`."""
    sends: "Sends | None" = None
    """The decided sends, if they were read."""


class Sends(Struct):
    """The decided sends: reservations, and the ids of recorded commands by rule."""

    reservations: list[Reservation]
    sent: dict[str, list[str]]
    decoded: int = -1
    """The number of reservations that were decoded; -1 once they were replaced."""

    @property
    def changed(self) -> bool:
        """Whether they must be encoded again. Each change adds a reservation or replaces the list."""
        return len(self.reservations) != self.decoded


class _EncodedSends(Struct, array_like=True):
    """A command id that a reservation has too is the position of that reservation."""

    reservations: list[Reservation]
    sent: dict[str, list[str | int]]


def _decode_sends(raw: Raw) -> Sends:
    encoded = _decode_encoded_sends(raw)
    reservations = encoded.reservations
    return Sends(
        reservations,
        {
            trigger: [reservations[each].command_id if isinstance(each, int) else each for each in several]
            for trigger, several in encoded.sent.items()
        },
        len(reservations),
    )


def encode_sends(sends: Sends) -> Raw:
    """The sends as MessagePack."""
    at = {each.command_id: position for position, each in enumerate(sends.reservations)}
    sent: dict[str, list[str | int]] = {
        trigger: [at.get(each, each) for each in several] for trigger, several in sends.sent.items()
    }
    return Raw(_pack(_EncodedSends(sends.reservations, sent)))


_decode_encoded_sends = Decoder(_EncodedSends).decode
_pack = Encoder().encode
_NO_SENDS = encode_sends(Sends([], {}))


class UserState(Struct, _Attributes, array_like=True):
    """One user's state. Only the evaluator changes it; `triggers.rules.encoding` makes it and turns it into bytes.

    The fields are those of an array, by position. Later versions append.
    """

    encoded_profile: tuple[str | None, str | None, dict[str, Any]] | None = None
    consent: dict[str, StoredConsent] = {}
    suppressed: bool = False
    address_digest: str = ""
    address_since: int = 0
    """When the profile's address last changed. Mail decided before that went to the earlier address."""
    running: list[Occurrence] = []
    entries: dict[str, dict[str, int]] = {}
    unless_events: dict[str, list[UnlessEvent]] = {}
    encoded_sends: Raw = _NO_SENDS
    goals: list[OpenGoal] = []
    segment_version: str = ""
    """The `segment_version` of the rule set whose segments were all evaluated for this user."""
    segments: dict[str, Membership] = {}
    """The segments that the user is in, or may enter without an event. The user is in no other segment."""
    plans: dict[str, ScheduleState] = {}
    links: dict[str, list[Link]] = {}

    @property
    def user_id(self) -> str:
        """The user whose state it is."""
        return self.user.id

    @property
    def reservations(self) -> list[Reservation]:
        """The decided sends that caps count."""
        return self._read_sends().reservations

    @reservations.setter
    def reservations(self, reservations: list[Reservation]) -> None:
        sends = self._read_sends()
        sends.reservations, sends.decoded = reservations, -1

    @property
    def sent(self) -> dict[str, list[str]]:
        """The ids of recorded commands, by rule."""
        return self._read_sends().sent

    def _read_sends(self) -> Sends:
        if self.sends is None:
            self.sends = _decode_sends(self.encoded_sends)
        return self.sends

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
