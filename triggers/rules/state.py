"""A user's state: everything the evaluator remembers of one user.

Limits: 64 event ids of the last 24 h; reservations while they are inside some window; 256 entry keys a rule; 128
command ids a rule; goals until their time is over; 64 events of an unfinished sequence, while an event that may still
arrive could finish it; of an occurrence, the latest 100 entries and one event for each `wait_for`, within the bytes of
`triggers.engine.kept_events`.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from msgspec import Raw, Struct, structs
from msgspec.msgpack import Decoder, Encoder

from triggers.cel.runtime import MissingField
from triggers.measures.decay import ScoreState
from triggers.measures.windows import WindowState
from triggers.rules.events import StoredEvent, event_map
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

_pack = Encoder().encode
_decode_event = Decoder(StoredEvent).decode
_decode_window = Decoder(WindowState).decode


def event_size(event: LazyEvent) -> int:
    """The bytes that an event takes in a state."""
    return len(event) if isinstance(event, Raw) else len(_pack(event))


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
    moved_by: str | None = None
    """The name of the latest event or profile at the instant `due`, if the user is on the other side after it."""


MAX_GATHERED = 100
"""The latest entries that an occurrence keeps, its first one counted."""


class Journey(Struct, array_like=True, gc=False):
    """What an occurrence remembers of its way. Later versions append fields."""

    seen: dict[str, LazyEvent] = {}
    """By the name of a `wait_for` step, the first event since the entry that it matches."""
    matched: str | None = None
    """The name of the `wait_for` step that was satisfied last."""
    gathered: list[LazyEvent] = []
    """Entries after the first, the latest MAX_GATHERED."""
    passed: list[str] = []
    """The ids of the sends behind it, in order."""
    passed_at: int = 0
    """From when what comes after the last of them counts."""

    def event(self, name: str) -> StoredEvent:
        """The event that is remembered for a step, decoded when it is read."""
        event = self.seen[name]
        if isinstance(event, Raw):
            event = self.seen[name] = _decode_event(event)
        return event

    def entries(self) -> list[StoredEvent]:
        """The entries that were gathered after the first, decoded when they are read."""
        decoded = [_decode_event(event) if isinstance(event, Raw) else event for event in self.gathered]
        self.gathered = [*decoded]
        return decoded


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
    """When the wait for a slot, a timestamp, an event or, if `held`, for the first profile began; None in other waits.
    """
    journey: Journey | None = None
    """None if there is nothing to remember of its way."""

    @property
    def has_match(self) -> bool:
        """Whether a `wait_for` was satisfied."""
        return self.journey is not None and self.journey.matched is not None

    @property
    def matched(self) -> StoredEvent:
        """The event that satisfied the last `wait_for`; raises MissingField if none did."""
        if self.journey is None or self.journey.matched is None:
            raise MissingField("no `wait_for` was satisfied")
        return self.journey.event(self.journey.matched)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The latest entries in the order of their arrival, as maps."""
        gathered = [] if self.journey is None else self.journey.entries()
        return [event_map(event) for event in [self.event, *gathered][-MAX_GATHERED:]]

    def remembered(self) -> list[StoredEvent]:
        """The events after the entry that it remembers."""
        journey = self.journey
        return [] if journey is None else [*map(journey.event, journey.seen), *journey.entries()]

    def passes(self, send: str) -> None:
        """Remembers that it has passed a send, from which the next wait counts."""
        if self.journey is None:
            self.journey = Journey()
        self.journey.passed.append(send)
        self.journey.passed_at = self.due

    def gather(self, event: StoredEvent) -> int:
        """Adds an entry; returns how many were forgotten for it, because only the latest are kept."""
        if self.journey is None:
            self.journey = Journey()
        gathered = self.journey.gathered
        gathered.append(event)
        if len(gathered) < MAX_GATHERED:
            return 0
        del gathered[:-MAX_GATHERED]
        return 1

    def forget_oldest(self) -> int:
        """Forgets the oldest gathered entry; returns its size in bytes."""
        assert self.journey is not None
        return event_size(self.journey.gathered.pop(0))

    def seen_size(self, name: str) -> int:
        """The bytes of the event that is remembered for the `wait_for` step of this name."""
        assert self.journey is not None
        return event_size(self.journey.seen[name])

    def forget_properties(self, name: str) -> int:
        """Forgets the properties of a remembered event; returns how many bytes that frees."""
        assert self.journey is not None
        before = self.seen_size(name)
        self.journey.seen[name] = structs.replace(self.journey.event(name), properties={})
        return before - self.seen_size(name)

    def has_seen(self, name: str) -> bool:
        """Whether an event is remembered for the `wait_for` step of this name."""
        return self.journey is not None and name in self.journey.seen

    def seen_at(self, name: str) -> int | None:
        """When the event happened that is remembered for the `wait_for` step of this name; None if there is none."""
        if self.journey is None or name not in self.journey.seen:
            return None
        return self.journey.event(name).time_ms

    def remember(self, name: str, event: StoredEvent) -> None:
        """Remembers an event for the `wait_for` step of this name."""
        if self.journey is None:
            self.journey = Journey()
        self.journey.seen[name] = event

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
    """One decided send. Caps count it, and outcomes find their rule by it. `kind` is send, shadow or held_out.

    `purpose` is the consent that it needs.
    """

    command_id: str
    at: int
    kind: str
    trigger: str
    key_text: str | None
    purpose: str
    channel: str
    occurrence: str
    step: str
    brand: str | None = None


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
    """The number of reservations that were decoded; -1 once they were replaced, or an id without one was added."""

    @property
    def changed(self) -> bool:
        """Whether they must be encoded again. Each change adds a reservation, replaces the list or sets `decoded`."""
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
    paused_until: int | None = None
    """Until then the user wants no mail that needs consent."""

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

    def remember_command(self, name: str, command_id: str) -> list[str]:
        """Adds the id of a recorded command, and returns those of the rule's commands."""
        sends = self._read_sends()
        sends.decoded = -1
        ids = sends.sent.setdefault(name, [])
        ids.append(command_id)
        return ids

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
