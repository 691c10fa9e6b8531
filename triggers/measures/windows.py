"""Windows of events: what is kept of the events of a pattern, and their count, sum and distinct values at an instant.

An event counts by its own time, so the order of arrival changes nothing. The newest events are kept one by one; where
there are more, the oldest of them are folded into the cells of a grid over time, each a number of events that leave
together when the newest of them does (the fixed-interval histogram; Datar, Gionis, Indyk, Motwani 2002 bound the
error of finer ones). So a window of at most `most` events is exact. Beyond that only the cell that the window's old
end lies in can be wrong: what it holds counts too long, by a 64th of the longest such window at most. Different values
are exact up to MAX_VALUES of them, and never read as more once events were folded: the values of those are kept by
their newest time, MAX_VALUES at most, so that no event that comes makes what is read fall.

Amounts may be negative; `falls_below` then promises nothing.
"""

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct

from triggers.cel.runtime import EvaluationError
from triggers.measures.local_time import calendar_window, reading, start_of_day
from triggers.measures.shapes import MS, Calendar, CalendarUnit, Rolling, Window

Measure = Literal["count", "sum", "distinct"]
EXACT = 1_000
"""How many events of a window are kept individually."""
EXACT_EVER = 64
"""The same without a window: there folding loses only what a read in the past would give."""
CELLS = 64
SINGLE_EVENTS = "single events"
VALUES = "different values"
MAX_VALUES = 1_000
MAX_AMOUNT = 1e15
"""Beyond it doubles no longer count ones, and one hostile amount hides the others."""
_VALUE_CHARS = 32
_LONGEST_MS = {"day": 2 * MS["d"], "week": 8 * MS["d"], "month": 32 * MS["d"]}
"""Longer than any local day, week or month with clock changes."""
_ALWAYS = -(2**62)
_FIRST_DAY_MS = 7 * MS["d"]
"""Local time begins in 1970 here: in every zone, older events share its first period."""


class Cell(NamedTuple):
    """Events folded together: their number, their sum, and the times of the oldest and the newest."""

    events: int
    total: float
    first: int
    last: int


class WindowState(Struct, array_like=True):
    """One user's events of a window, oldest first. If kept, `amounts` and `values` are parallel to `instants`."""

    instants: list[int] = []
    amounts: list[float] = []
    values: list[str] = []
    cells: dict[int, Cell] = {}
    folded: dict[str, int] = {}
    """The values of folded events, each with its newest time."""
    last_event: str = ""
    """The id of the latest event, if a crossing is named by it."""


def value_text(value: Any) -> str:
    """A value as text, so that equal texts are equal values; raises EvaluationError for a list or map.

    Long texts are kept as their Blake2b-128.
    """
    if isinstance(value, str):
        if len(value) <= _VALUE_CHARS:
            return f"'{value}"
        return f"#{hashlib.blake2b(value.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(float(value))
    raise EvaluationError("distinct needs a text, a number or a boolean")


@dataclass(frozen=True, slots=True)
class Tally:
    """Keeps and reads the events of a window; None has no end. `slack_ms` is how far back it is read."""

    window: Window | None
    slack_ms: int = 0
    sums: bool = False
    tells: bool = False
    """Whether values are kept, to count distinct ones."""
    most: int = EXACT
    folds: bool = True
    """Whether events beyond `most` are folded, or dropped because nothing reads beyond it."""

    def add(self, state: WindowState, at: int, amount: float = 0.0, value: str = "") -> tuple[str, ...]:
        """Counts one event; returns what a bound on memory made less exact: SINGLE_EVENTS, VALUES."""
        place = bisect_right(state.instants, at)
        state.instants.insert(place, at)
        if self.sums:
            state.amounts.insert(place, amount)
        if self.tells:
            state.values.insert(place, value)
        self._forget(state)
        if len(state.instants) <= self.most:
            return ()
        return self._shorten(state, len(state.instants) - self.most)

    def _forget(self, state: WindowState) -> None:
        """Drops events that no window still to be read can contain."""
        gone = bisect_right(state.instants, self._horizon(state))
        if gone:
            self._drop(state, gone)
            self._forget_folded(state)

    def _forget_folded(self, state: WindowState) -> None:
        horizon = self._horizon(state)
        state.cells = {number: cell for number, cell in state.cells.items() if cell.last > horizon}
        state.folded = {value: at for value, at in state.folded.items() if at > horizon}

    def _horizon(self, state: WindowState) -> int:
        if self.window is None:
            return _ALWAYS
        return state.instants[-1] - self.slack_ms - self._longest_ms(self.window)

    @staticmethod
    def _longest_ms(window: Window) -> int:
        return window.ms if isinstance(window, Rolling) else _LONGEST_MS[window.unit]

    @staticmethod
    def _drop(state: WindowState, count: int) -> None:
        del state.instants[:count], state.amounts[:count], state.values[:count]

    def _shorten(self, state: WindowState, excess: int) -> tuple[str, ...]:
        values = sum(not self._fold(state, index) for index in range(excess)) if self.folds else 0
        self._drop(state, excess)
        exact = not self.folds or self.window is None
        return (() if exact else (SINGLE_EVENTS,)) + ((VALUES,) if values else ())

    def _fold(self, state: WindowState, index: int) -> bool:
        """Folds one event into its cell; returns whether all distinct values are still kept."""
        at = state.instants[index]
        amount = state.amounts[index] if self.sums else 0.0
        width = 2**62 if self.window is None else -(-(self._longest_ms(self.window) + self.slack_ms) // CELLS)
        number = at // width
        if number not in state.cells:
            self._forget_folded(state)
        cell = state.cells.get(number, Cell(0, 0.0, at, at))
        first, last = min(cell.first, at), max(cell.last, at)
        state.cells[number] = Cell(cell.events + 1, cell.total + amount, first, last)
        return not self.tells or _fold_value(state, state.values[index], at)

    # reading ---------------------------------------------------------------------------------------------------------

    def since(self, at: int, zone: ZoneInfo) -> int:
        """The old end of the window at an instant: later events count."""
        if isinstance(self.window, Rolling):
            return at - self.window.ms
        return _ALWAYS if self.window is None else _period(self.window, at, zone)[0] - 1

    def read(self, state: WindowState, name: str, since: int, until: int | None) -> float | None:
        """`count`, `sum`, `distinct`, `first` or `last` of the events in (since, until]; None has no end.

        `first` and `last` are instants, None where no event counts. Sums are correctly rounded (Shewchuk 1997), so
        that no order of arrival changes them.
        """
        low = bisect_right(state.instants, since)
        high = len(state.instants) if until is None else bisect_right(state.instants, until)
        if not state.cells and name == "count":
            return float(max(high - low, 0))
        cells = [c for c in state.cells.values() if c.last > since and (until is None or c.first <= until)]
        if name == "count":
            return float(max(high - low, 0) + sum(cell.events for cell in cells))
        if name == "sum":
            return math.fsum([*state.amounts[low:high], *(cell.total for cell in cells)])
        if name == "distinct":
            folded = {value for value, at in state.folded.items() if at > since}
            different = len(folded.union(state.values[low:high]))
            return float(min(different, MAX_VALUES) if state.folded else different)
        instants = [*state.instants[low:high][:: max(high - low - 1, 1)], *_ends(cells)]
        if not instants:
            return None
        return min(instants) if name == "first" else max(instants)

    # time ------------------------------------------------------------------------------------------------------------

    def next_change(self, state: WindowState, at: int, zone: ZoneInfo) -> int | None:
        """The first instant after `at` at which an event leaves the window; None if none ever will."""
        oldest = min(self._leaving(state, self.since(at, zone), first=True), default=None)
        if self.window is None or oldest is None:
            return None
        if isinstance(self.window, Rolling):
            return oldest + self.window.ms
        return _period(self.window, at, zone)[1]

    def falls_below(self, state: WindowState, measure: Measure, line: float, zone: ZoneInfo) -> int | None:
        """The first instant at or after the newest event at which the measure is below `line`, if no event comes.

        `line` is more than 0, and an event was counted. None where the window has no end.
        """
        at = state.instants[-1]
        since = self.since(at, zone)
        if (self.read(state, measure, since, None) or 0.0) < line:
            return at
        if self.window is None:
            return None
        if isinstance(self.window, Calendar):
            return _period(self.window, at, zone)[1]
        leaving = sorted(set(self._leaving(state, since)))
        first = bisect_left(leaving, True, key=lambda time: (self.read(state, measure, time, None) or 0.0) < line)
        return leaving[first] + self.window.ms

    @staticmethod
    def _leaving(state: WindowState, since: int, *, first: bool = False) -> Iterator[int]:
        """The times of the events in the window: each leaves when the window's old end reaches it.

        `first` leaves out times that are newer than one given.
        """
        low = bisect_right(state.instants, since)
        yield from state.instants[low : low + 1 if first else None]
        yield from (cell.last for cell in state.cells.values() if cell.last > since)
        yield from (at for at in state.folded.values() if at > since)


def _period(window: Calendar, at: int, zone: ZoneInfo) -> tuple[int, int]:
    """The first instant of the local day, week or month that holds `at`, and the first after it."""
    return _period_of(window.unit, zone, reading(zone, max(at, _FIRST_DAY_MS)).date())


@lru_cache(maxsize=4096)
def _period_of(unit: CalendarUnit, zone: ZoneInfo, day: date) -> tuple[int, int]:
    return calendar_window(zone, start_of_day(zone, day), unit)


def _ends(cells: list[Cell]) -> Iterator[int]:
    for cell in cells:
        yield from (cell.first, cell.last)


def _fold_value(state: WindowState, value: str, at: int) -> bool:
    """Keeps a folded event's value with its newest time; whether there was room. The values stay in order of time."""
    at = max(at, state.folded.pop(value, at))
    late = bool(state.folded) and state.folded[next(reversed(state.folded))] > at
    state.folded[value] = at
    if late:
        state.folded = dict(sorted(state.folded.items(), key=lambda item: (item[1], item[0])))
    if len(state.folded) <= MAX_VALUES:
        return True
    del state.folded[next(iter(state.folded))]
    return False
