"""Events without a user in a backtest, found by what an occurrence waits for.

Every user may wait for every one of them, so they stay in memory: a backtest of rules with such waits takes some 500
bytes for each, in each process.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from triggers.cases.history_records import HistoryRecord
from triggers.engine.evaluator import Evaluator
from triggers.rules.state import UserState


class LogPlace(NamedTuple):
    """A place in the order of a backtest: at one instant the profile comes first, then events by id, then timers."""

    at_ms: int
    rank: int
    id: str = ""
    position: int = 0


TIMERS = 2
"""The rank of timers at their instant."""


def place_of(record: HistoryRecord) -> LogPlace:
    """Where a record stands."""
    return LogPlace(record.at_ms, record.rank, record.id, record.position)


class BroadcastIndex:
    """The events without a user that occurrences of one rule set may wait for."""

    def __init__(self, evaluator: Evaluator, records: Iterable[HistoryRecord]) -> None:
        self._evaluator = evaluator
        self._rules = evaluator.rules
        self._by_key: dict[int, list[tuple[LogPlace, HistoryRecord]]] = {}
        self._types: set[str] = set()
        for record in sorted(records):
            event = record.event()
            for key in self._rules.waiting.met(event):
                self._types.add(event.type)
                self._by_key.setdefault(key, []).append((place_of(record), record))

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def next(self, state: UserState, after: LogPlace, before: LogPlace) -> HistoryRecord | None:
        """The first event between two places that a running occurrence of the state may wait for."""
        found: tuple[LogPlace, HistoryRecord] | None = None
        for key in self._waits(state):
            entries = self._by_key.get(key, ())
            number = bisect_right(entries, after, key=_place)
            if number < len(entries) and entries[number][0] < before and (found is None or entries[number] < found):
                found = entries[number]
        return None if found is None else found[1]

    def _waits(self, state: UserState) -> set[int]:
        keys: set[int] = set()
        for occurrence in state.running:
            trigger = self._rules.followed(occurrence.trigger, occurrence.rule_hash)
            if trigger is not None:
                keys.update(self._rules.waiting.keys(trigger, occurrence, self._types))
        return keys


def _place(entry: tuple[LogPlace, HistoryRecord]) -> LogPlace:
    return entry[0]
