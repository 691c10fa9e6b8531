"""Records: what happens to a user in a backtest, in the order in which it is applied.

A backtest sorts records instead of events, profiles and outcomes: a record is small, keeps its content encoded, and can
be written to a file. Of an event that can change no state, no more is left than that its user exists: a mark.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple

from msgspec.msgpack import Decoder, Encoder

from schemas.codec import decode, encode
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from triggers.cel.runtime import as_ms
from triggers.engine.evaluator import Evaluator
from triggers.rules.events import StoredEvent

Order = Literal["event_time", "given"]
NOBODY = ""
"""The user of a record without one. No user's id is empty."""

_pack = Encoder().encode
_unpack = Decoder(StoredEvent).decode


class RecordKind(IntEnum):
    """What a record carries. A mark carries nothing: its user has an event that changes no state. More marks of a user
    say the same. A broadcast is an event without a user, for which occurrences of every user may wait."""

    MARK = 0
    PROFILE = 1
    EVENT = 2
    OUTCOME = 3
    BROADCAST = 4


class HistoryRecord(NamedTuple):
    """One thing that happens to a user. Records sort in the order in which they are applied: by user and instant, the
    profile first, then by id as the language says, then as they were given."""

    user_id: str
    at_ms: int
    rank: int
    id: str
    position: int
    kind: int
    payload: bytes

    def event(self) -> StoredEvent:
        """The event, a new one at each call."""
        return _unpack(self.payload)

    def profile(self) -> Profile:
        """The profile."""
        return decode(Profile, self.payload)

    def outcome(self) -> Outcome:
        """The outcome."""
        return decode(Outcome, self.payload)


def mark(user_id: str) -> HistoryRecord:
    """The mark of a user, which sorts before all else of the user."""
    return HistoryRecord(user_id, 0, 0, "", 0, RecordKind.MARK, b"")


@dataclass(slots=True)
class LogExtent:
    """How many events a log has, and from when to when."""

    events: int = 0
    without_user: int = 0
    after_end: int = 0
    """Events, profiles and outcomes later than the end of the backtest. They are not counted as events."""
    first_ms: int | None = None
    """The time of the first event in its order."""
    last_ms: int | None = None
    unheard: Counter[str] = field(default_factory=Counter)
    """The types of users' events that no rule listens to; of two rule sets, the new one."""

    def add(self, other: "LogExtent") -> None:
        """Adds the extent of another part of the log."""
        self.events += other.events
        self.without_user += other.without_user
        self.after_end += other.after_end
        self.unheard.update(other.unheard)
        for ms in (other.first_ms, other.last_ms):
            if ms is not None:
                self.first_ms = ms if self.first_ms is None else min(ms, self.first_ms)
                self.last_ms = ms if self.last_ms is None else max(ms, self.last_ms)


class RecordMaker:
    """Makes the records of a log, or of a part of it, for one or more rule sets.

    In the order `given`, an event's instant is the latest time so far instead of its own time. Nothing later than
    `until_ms` makes a record, and with `only_user` nothing of another user; events of others are counted. `marked` has
    the users with an event that changes no state, which makes no record: each is to get a mark.
    """

    def __init__(
        self,
        evaluators: Sequence[Evaluator],
        order: Order = "event_time",
        until_ms: int | None = None,
        only_user: str | None = None,
    ) -> None:
        self.extent = LogExtent()
        self.marked: set[str] = set()
        self._relevant = [each.relevant_context for each in evaluators]
        self._heard = evaluators[-1].rules.routes
        self._waiting = [each.rules.waiting for each in evaluators]
        self._given = order == "given"
        self._until_ms = until_ms
        self._only_user = only_user

    def event(self, user_id: str | None, event: StoredEvent, position: int) -> HistoryRecord | None:
        """The record of an event; None if it makes none."""
        at_ms = event.time_ms
        if self._until_ms is not None and self._ends_before(at_ms):  # saves the call, here and below
            return None
        last_ms = self._count(at_ms)
        if self._given:
            at_ms = last_ms
        if user_id is None:
            self.extent.without_user += 1
            return self._broadcast(event, at_ms, position)
        if event.type not in self._heard:
            self.extent.unheard[event.type] += 1
        if self._only_user is not None and user_id != self._only_user:
            return None
        for relevant in self._relevant:
            if relevant(event, at_ms) is not None:
                name = "" if self._given else event.id
                return HistoryRecord(user_id, at_ms, 1, name, position, RecordKind.EVENT, _pack(event))
        self.marked.add(user_id)
        return None

    def _broadcast(self, event: StoredEvent, at_ms: int, position: int) -> HistoryRecord | None:
        if not any(event.type in waiting for waiting in self._waiting):
            return None
        name = "" if self._given else event.id
        return HistoryRecord(NOBODY, at_ms, 1, name, position, RecordKind.BROADCAST, _pack(event))

    def profile(self, profile: Profile, at_ms: int | None, position: int) -> HistoryRecord | None:
        """The record of a profile that holds from an instant on, or from the beginning."""
        if self._is_other(profile.user_id) or (at_ms is not None and self._ends_before(at_ms)):
            return None
        return HistoryRecord(profile.user_id, at_ms or 0, 0, "", position, RecordKind.PROFILE, encode(profile))

    def outcome(self, outcome: Outcome, position: int) -> HistoryRecord | None:
        """The record of an outcome."""
        at_ms = as_ms(outcome.time)
        if self._is_other(outcome.user_id) or self._ends_before(at_ms):
            return None
        return HistoryRecord(outcome.user_id, at_ms, 1, outcome.id, position, RecordKind.OUTCOME, encode(outcome))

    def _is_other(self, user_id: str) -> bool:
        return self._only_user is not None and user_id != self._only_user

    def _ends_before(self, at_ms: int) -> bool:
        if self._until_ms is None or at_ms <= self._until_ms:
            return False
        self.extent.after_end += 1
        return True

    def _count(self, at_ms: int) -> int:
        """Counts an event; returns the latest time so far."""
        extent = self.extent
        extent.events += 1
        if extent.first_ms is None or extent.last_ms is None:
            extent.first_ms = extent.last_ms = at_ms
        elif at_ms > extent.last_ms:
            extent.last_ms = at_ms
        elif at_ms < extent.first_ms and not self._given:
            extent.first_ms = at_ms
        return extent.last_ms
