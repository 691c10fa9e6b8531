"""The lines of waiting commands that a worker knows: when each goes on, and how much of it comes into memory. Pure."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from senders.delivery.ready_queue import CAPACITY
from senders.queue.ledger import DueCommand, DueStatus
from senders.queue.lines import MOST_FOUND, LineOrder, line_of
from senders.shaping.bindings import Binding
from senders.shaping.lane_state import LaneKey, LaneState

AHEAD_S = 10.0
"""Of a slow line comes into memory what can begin in so many seconds: what must wait for longer is written again."""
MOST_ASKED = 16
"""Lines whose heads are read at once."""
UNKNOWN = CAPACITY // 4
"""What is taken at once of a line of which no more is known than that it is there."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Line:
    """Commands that wait for a lane, for the hosts of a domain, or for a limit with a pace. If for none: unknown."""

    lane: LaneKey | None = None
    domain: str | None = None
    pace: float | None = None
    """Mails a second."""
    priority: int = 0
    """No command of the line has a higher one."""
    rests_until: datetime = LONG_AGO
    rests_for: Binding | None = None
    """What must end before it goes on."""


class LaneLines:
    """Used in the event loop's thread only. What it is made with says what is in memory already."""

    def __init__(
        self,
        find_lane: Callable[[LaneKey], LaneState | None],
        lookups: Callable[[str], int | None],
        from_line: Callable[[int], int],
    ) -> None:
        """`lookups`: how many mails wait for the hosts of a domain; None if those are known.

        `from_line`: how many mails wait that came from a line.
        """
        self._find_lane = find_lane
        self._lookups = lookups
        self._from_line = from_line
        self._lines: dict[int, Line] = {}
        self.order = LineOrder()
        """Up to where the lines have been read."""

    def join(self, name: str, line: Line, due: DueCommand) -> int:
        """A command waits in the line of this name, which is like this. Returns the line."""
        number = line_of(name)
        self.order.rewind(number, due.queue_class, due.admitted_at)
        known = self._lines.get(number)
        if known is not None:
            line.priority = max(line.priority, known.priority)
            if known.rests_until > line.rests_until:
                line.rests_until, line.rests_for = known.rests_until, known.rests_for
        self._put(number, line)
        return number

    def is_before(self, name: str, priority: int) -> bool:
        """Whether commands wait in this line before one of this priority."""
        line = self._lines.get(line_of(name))
        return line is not None and line.priority >= priority

    def rests_for(self, number: int, now: datetime) -> Binding | None:
        """What a line rests for that rests now; None if it does not, or if that is not known."""
        line = self._lines.get(number)
        return line.rests_for if line is not None and line.rests_until > now else None

    def found(self, numbers: Collection[int]) -> None:
        """These lines have commands. Those that were not known may have some of every priority."""
        for number in numbers:
            if number not in self._lines:
                self._put(number, Line(priority=2**15))

    def let_go(self, due: DueCommand) -> None:
        """A command that came from a line was let go without an answer, and stands there as before."""
        assert due.behind is not None, "it came from a line"
        self.found([due.behind])
        self.order.rewind(due.behind, due.queue_class, due.admitted_at)

    def go_on(self) -> None:
        """No line rests any more: limits and holds may be others."""
        for line in self._lines.values():
            line.rests_until = LONG_AGO

    def wanted(self, room: int, now: datetime) -> Mapping[int, int]:
        """How many of the first commands of which lines are to come into memory."""
        asked: dict[int, int] = {}
        for number, line in self._lines.items():
            if room <= 0 or len(asked) >= MOST_ASKED:
                break
            count = 0 if line.rests_until > now else min(self._room(number, line, now), room)
            if count > 0:
                asked[number] = count
                room -= count
        for number in asked:  # next time others come first
            self._lines[number] = self._lines.pop(number)
        return asked

    def came(self, wanted: Mapping[int, int], heads: Collection[tuple[int, DueStatus]]) -> None:
        """These commands came of those wanted. A line of which fewer came has ended."""
        priorities: dict[int, list[int]] = {number: [] for number in wanted}
        for number, status in heads:
            priorities[number].append(status.queue_class.priority)
        for number, of_heads in priorities.items():
            if len(of_heads) < wanted[number]:
                del self._lines[number]
            else:
                self._lines[number].priority = min(of_heads)

    def _put(self, number: int, line: Line) -> None:
        if number not in self._lines and len(self._lines) >= MOST_FOUND:
            del self._lines[next(iter(self._lines))]  # it is found again
        self._lines[number] = line

    def _room(self, number: int, line: Line, now: datetime) -> int:
        if line.lane is not None:
            return self._room_on(line.lane, now)
        if line.domain is not None:
            waiting = self._lookups(line.domain)
            return CAPACITY if waiting is None else 1 - waiting
        return _refill(UNKNOWN if line.pace is None else _of_pace(line.pace), self._from_line(number))

    def _room_on(self, key: LaneKey, now: datetime) -> int:
        """How many more mails a lane may have in memory."""
        lane = self._find_lane(key)
        if lane is None:
            return CAPACITY
        if lane.unreachable:
            return 1 - len(lane.queue)
        limits = [self._lines.get(line_of(rate.paced.name)) for rate in lane.rates]
        if any(limit is not None and limit.rests_until > now for limit in limits):
            return 0
        most = min([CAPACITY, *(_of_pace(rate.rate.count / rate.rate.period_s) for rate in lane.rates)])
        return _refill(most, len(lane.queue))


def _of_pace(pace: float) -> int:
    return max(1, min(CAPACITY, math.ceil(pace * AHEAD_S)))


def _refill(most: int, waiting: int) -> int:
    """How many more may come into memory: none before half of them have begun."""
    return most - waiting if waiting <= most // 2 else 0
