"""Encodes a user's state as compact bytes, with the number of the format.

The bytes are one byte with the format, eight with the instant at which the next timer is due, and a MessagePack array
with the sections of `PackedState`. The instant comes first so that a recovery indexes a million states without decoding
them.
"""

import struct
from typing import Any

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from triggers.measures.decay import ScoreState
from triggers.measures.windows import WindowState
from triggers.rules.events import StoredEvent
from triggers.rules.state import (
    LevelState,
    Link,
    Membership,
    Occurrence,
    OpenGoal,
    Reservation,
    ScheduleState,
    StoredConsent,
    UnlessEvent,
    User,
    UserState,
    occurrence_id,
    text_of_key,
)

FORMAT = 4
_HEAD = struct.Struct(">Bq")
_NOTHING_DUE = -(2**63)


class PackedOccurrence(Struct, array_like=True):
    """An occurrence. A field that can be derived from the others is None."""

    trigger: str
    rule_hash: str
    key: Any
    event: StoredEvent
    variant: str | None
    step: int
    due: int
    id: str | None = None
    key_text: str | None = None
    began: str | None = None
    entered_at: int | None = None
    wake: int | None = None
    held: bool = False
    since: int | None = None


class PackedState(Struct, array_like=True):
    """The sections of a state, by position. Later versions append."""

    profile: tuple[str | None, str | None, dict[str, Any]] | None = None
    consent: dict[str, StoredConsent] = {}
    suppressed: bool = False
    address_digest: str = ""
    seen: dict[str, int] = {}
    scores: dict[str, ScoreState] = {}
    levels: dict[str, LevelState] = {}
    running: list[PackedOccurrence] = []
    entries: dict[str, dict[str, int]] = {}
    unless_events: dict[str, list[UnlessEvent]] = {}
    reservations: list[Reservation] = []
    sent: dict[str, list[str | int]] = {}
    """Command ids. One that a reservation has too is stored as the position of that reservation."""
    goals: list[OpenGoal] = []
    windows: dict[str, WindowState] = {}
    segment_version: str = ""
    segments: dict[str, Membership] = {}
    plan_version: str = ""
    plans: dict[str, ScheduleState] = {}
    links: dict[str, list[Link]] = {}
    address_since: int = 0


_pack = Encoder().encode
_unpack = Decoder(PackedState).decode


class UnknownFormat(ValueError):
    """The state was written by another version of Ebbtide, in a format that this one does not read."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(
            f"a user's state has format {raw[0]}, and this version of Ebbtide reads format {FORMAT}: "
            "run the version that wrote it, or rebuild the state from the log"
        )


def due_of(raw: bytes) -> int | None:
    """When the next timer of an encoded state is due, in milliseconds; None if no timer is set. Does not decode it.

    For a recovery, which has only the bytes. Everybody else has the instant from `encode`.
    """
    if raw[0] != FORMAT:
        raise UnknownFormat(raw)
    due: int = _HEAD.unpack_from(raw)[1]
    return None if due == _NOTHING_DUE else due


def without_due(raw: bytes) -> bytes:
    """The same state with no timer due until it is encoded again. Does not decode it."""
    return _HEAD.pack(raw[0], _NOTHING_DUE) + raw[_HEAD.size :] if raw[0] == FORMAT else raw


def encode(state: UserState) -> tuple[bytes, int | None]:
    """The state as bytes, and when its next timer is due, in milliseconds. `decode` returns an equal state."""
    user = state.user
    packed = PackedState(
        (user.zone, user.locale, user.attributes) if state.profiled else None,
        state.consent,
        state.suppressed,
        state.address_digest,
        state.seen,
        state.scores,
        state.levels,
        [_pack_running(each) for each in state.running] if state.running else [],
        state.entries,
        state.unless_events,
        state.reservations,
        _pack_sent(state) if state.sent else {},
        state.goals,
        state.windows,
        state.segment_version,
        state.segments,
        state.plan_version,
        state.plans,
        state.links,
        state.address_since,
    )
    due = state.next_due()
    return _HEAD.pack(FORMAT, _NOTHING_DUE if due is None else due) + _pack(packed), due


def decode(user_id: str, raw: bytes | None) -> UserState:
    """The state that `encode` encoded, an empty state for None; raises UnknownFormat."""
    if raw is None:
        return UserState(User(user_id))
    if raw[0] != FORMAT:
        raise UnknownFormat(raw)
    packed = _unpack(memoryview(raw)[_HEAD.size :])
    profile, running, sent = packed.profile, packed.running, packed.sent
    return UserState(
        User(user_id, *profile) if profile else User(user_id),
        packed.consent,
        packed.suppressed,
        packed.address_digest,
        packed.seen,
        packed.scores,
        packed.levels,
        [_occurrence(each) for each in running] if running else [],
        packed.entries,
        packed.unless_events,
        packed.reservations,
        _sent(sent, packed.reservations) if sent else {},
        packed.goals,
        packed.windows,
        packed.segment_version,
        packed.segments,
        profile is not None,
        packed.plan_version,
        packed.plans,
        packed.links,
        packed.address_since,
    )


def _pack_sent(state: UserState) -> dict[str, list[str | int]]:
    at = {each.command_id: position for position, each in enumerate(state.reservations)}
    return {trigger: [at.get(each, each) for each in several] for trigger, several in state.sent.items()}


def _sent(packed: dict[str, list[str | int]], reservations: list[Reservation]) -> dict[str, list[str]]:
    return {
        trigger: [reservations[each].command_id if isinstance(each, int) else each for each in several]
        for trigger, several in packed.items()
    }


def _pack_running(each: Occurrence) -> PackedOccurrence:
    key, began, event = each.key, each.began, each.event
    return PackedOccurrence(
        each.trigger,
        each.rule_hash,
        key,
        event,
        each.variant,
        each.step,
        each.due,
        None if each.id == occurrence_id(key, began) else each.id,
        None if each.key_text == text_of_key(key) else each.key_text,
        None if began == event.id else began,
        None if each.entered_at == event.time_ms else each.entered_at,
        None if each.wake == each.due else each.wake,
        each.held,
        each.since,
    )


def _occurrence(packed: PackedOccurrence) -> Occurrence:
    key, event, due = packed.key, packed.event, packed.due
    began = event.id if packed.began is None else packed.began
    return Occurrence(
        packed.trigger,
        packed.rule_hash,
        occurrence_id(key, began) if packed.id is None else packed.id,
        key,
        text_of_key(key) if packed.key_text is None else packed.key_text,
        began,
        event,
        event.time_ms if packed.entered_at is None else packed.entered_at,
        packed.variant,
        packed.step,
        due,
        due if packed.wake is None else packed.wake,
        packed.held,
        packed.since,
    )
