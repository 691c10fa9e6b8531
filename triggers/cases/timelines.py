"""Timelines: what a backtest keeps of a log. Events that can change no state are only counted.

Whether an event can change a state depends only on the event and on the clock at which it is applied, so it is known
when the event is read. Most events of a log change nothing. The others are kept encoded, which takes a sixth of the
memory of their models, and gives the garbage collector nothing to look through.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, Self

from msgspec.msgpack import Decoder, Encoder

from triggers.cel.conditions import Context
from triggers.engine.evaluator import Evaluator
from triggers.rules.events import StoredEvent
from triggers.rules.interest import event_context
from triggers.rules.ruleset import RuleSet

Order = Literal["event_time", "given"]
UserEvent = tuple[str | None, StoredEvent]
"""The id of an event's user, and the event as rules see it."""

_pack = Encoder().encode
_unpack = Decoder(tuple[int, StoredEvent]).decode


class Timeline:
    """One user's events: how many there are, and those that can change the user's state."""

    __slots__ = ("changing", "events", "first")

    def __init__(self, first: tuple[int, str, int]) -> None:
        self.events = 0
        self.first = first
        """The time, the id and the position in the log of the first event by time."""
        self.changing: list[bytes] = []
        """The clock and the event, encoded."""


class Timelines:
    """The events of a log by user, each with the clock at which it is applied: its own time, or in the `given` order
    the latest time so far."""

    def __init__(self, rules: RuleSet, order: Order = "event_time", default_zone: str = "UTC") -> None:
        self.evaluator = Evaluator(rules, default_zone)
        self.order = order
        self.default_zone = default_zone
        self.events = 0
        self.without_user = 0
        self.first_ms: int | None = None
        """The time of the first event in this order."""
        self.last_ms: int | None = None
        self._of_user: dict[str, Timeline] = {}

    def read(self, events: Iterable[UserEvent]) -> Self:
        """Adds events in the order of the log; returns itself."""
        given, of_user, relevant_context = self.order == "given", self._of_user, self.evaluator.relevant_context
        for user_id, event in events:
            at_ms = event.time_ms
            last_ms = self._count(at_ms)
            if user_id is None:
                self.without_user += 1
                continue
            timeline = of_user.get(user_id)
            if timeline is None:
                timeline = of_user[user_id] = Timeline((at_ms, event.id, self.events))
            elif at_ms <= timeline.first[0]:
                timeline.first = min(timeline.first, (at_ms, event.id, self.events))
            timeline.events += 1
            now_ms = last_ms if given else at_ms
            if relevant_context(event, now_ms) is not None:
                timeline.changing.append(_pack((now_ms, event)))
        return self

    def _count(self, at_ms: int) -> int:
        """Counts an event; returns the latest time so far."""
        self.events += 1
        if self.first_ms is None or self.last_ms is None:
            self.first_ms = self.last_ms = at_ms
        elif at_ms > self.last_ms:
            self.last_ms = at_ms
        elif at_ms < self.first_ms and self.order == "event_time":
            self.first_ms = at_ms
        return self.last_ms

    def by_user(self) -> Iterator[tuple[str, Timeline]]:
        """The users in the order of their first events."""
        if self.order == "given":
            return iter(self._of_user.items())
        return iter(sorted(self._of_user.items(), key=lambda each: each[1].first))

    def contexts(self, timeline: Timeline) -> Iterator[Context]:
        """The events that can change the user's state in their order, each in its context without the user."""
        entries = [_unpack(each) for each in timeline.changing]
        if self.order == "event_time":
            entries.sort(key=_time_and_id)
        return (event_context(event, now_ms) for now_ms, event in entries)


def _time_and_id(entry: tuple[int, StoredEvent]) -> tuple[int, str]:
    now_ms, event = entry
    return now_ms, event.id
