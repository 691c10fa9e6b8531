"""The partition clock: the inputs of one partition number, merged by append time into one order, with one clock.

The clock is the append time of the record being applied, or T once a fetch begun after T found every input at its
end; it never goes back. A record may be applied when every other input either holds a later one, or was found at its
end by a question asked after the record had arrived: so nothing overtakes a record that was there before it.

Pure: fed with records and with answers about the inputs' ends, asked for what is ready. Times are milliseconds.
Order by causes where it can be had: what is compared with append times are append times; the worker's own clock
moves a partition only when all its inputs are at rest.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Generic, TypeVar

R = TypeVar("R")

NO_TIMESTAMP = -1
"""Earlier than every append time."""


@dataclass(frozen=True, slots=True)
class Piece(Generic[R]):
    """Successive records of one input, each with the clock at which it is applied."""

    topic: str
    records: Sequence[R]
    times_ms: Sequence[int]


@dataclass(frozen=True, slots=True)
class Batch(Generic[R]):
    """What a partition applies next: records in order, or a tick of the clock with none.

    `number` counts the batches of a partition without a gap since it was assigned.
    """

    partition: int
    number: int
    pieces: Sequence[Piece[R]]
    clock_ms: int

    @property
    def is_tick(self) -> bool:
        """Whether it moves the clock only."""
        return not self.pieces

    def __len__(self) -> int:
        return sum(len(piece.records) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class EndQuery:
    """Where do these inputs end now? `as_of_ms` is what an answer settles; `tick` where all inputs are empty."""

    topics: tuple[str, ...]
    as_of_ms: int
    tick: bool


@dataclass(slots=True)
class _Chunk(Generic[R]):
    records: list[R]
    times_ms: list[int]
    taken: int = 0


@dataclass(slots=True)
class _Lane(Generic[R]):
    """One input: what has arrived and is not yet applied, and what is known of its end."""

    topic: str
    rank: int
    position: int
    chunks: deque[_Chunk[R]] = field(default_factory=deque)
    last_ms: int = NO_TIMESTAMP
    complete_to_ms: int = NO_TIMESTAMP
    known_end: int = 0

    def waiting(self) -> int:
        """Records that have arrived and are not taken."""
        return sum(len(chunk.records) - chunk.taken for chunk in self.chunks)

    def head_ms(self) -> int:
        chunk = self.chunks[0]
        return chunk.times_ms[chunk.taken]


class PartitionClock(Generic[R]):
    """Merges the inputs of one partition number. `positions` are the offsets at which they begin, in order of rank.

    Of records with one append time, those of the input named first come first.
    """

    def __init__(self, partition: int, positions: Mapping[str, int], clock_ms: int = NO_TIMESTAMP) -> None:
        self.partition = partition
        self.clock_ms = clock_ms
        self._lanes = {t: _Lane[R](t, rank, at) for rank, (t, at) in enumerate(positions.items())}
        self._ordered = list(self._lanes.values())
        self._tick_ms = NO_TIMESTAMP
        self._batches = 0
        self._taken = 0

    def push(self, topic: str, records: list[R], times_ms: list[int], position: int) -> None:
        """Takes in records of one input that follow those before; `position` is the offset after them.

        With no records it says that nothing is to be had before `position`.
        """
        lane = self._lanes[topic]
        lane.position = max(lane.position, position)
        if not records:
            return
        times_ms[0] = max(times_ms[0], lane.last_ms)
        rising = times_ms
        if times_ms != sorted(times_ms):  # an append time below its predecessor's is a broker's clock set back
            rising = list(accumulate(times_ms, max))
        lane.last_ms = rising[-1]
        lane.chunks.append(_Chunk(records, rising))

    def question(self, now_ms: int) -> EndQuery | None:
        """What must be known before more can be applied, if anything. Ask it at once: its answer speaks of now."""
        empty = [lane for lane in self._ordered if not lane.chunks]
        if not empty:
            return None
        if len(empty) == len(self._ordered):
            as_of_ms = now_ms - 1  # of the running millisecond more may come
            tick = as_of_ms > self.clock_ms
            return EndQuery(tuple(self._lanes), as_of_ms, tick=True) if tick else None
        newest_ms = max(lane.last_ms for lane in self._ordered if lane.chunks)
        unknown = tuple(lane.topic for lane in empty if lane.complete_to_ms < newest_ms)
        return EndQuery(unknown, newest_ms, tick=False) if unknown else None

    def answer(self, question: EndQuery, ends: Mapping[str, int]) -> None:
        """Takes in where inputs ended after `question` was asked; an input that is missing stays unknown."""
        settled = 0
        for topic in question.topics:
            end, lane = ends.get(topic), self._lanes[topic]
            if end is None:
                continue
            lane.known_end = max(lane.known_end, end)
            if lane.position >= end:
                settled += 1
                if not question.tick:
                    lane.complete_to_ms = max(lane.complete_to_ms, question.as_of_ms)
        if question.tick and settled == len(self._lanes):
            self._tick_ms = question.as_of_ms

    def starving(self) -> list[str]:
        """Inputs whose next records exist and have not arrived, while records of others wait for them."""
        if not any(lane.chunks for lane in self._ordered):
            return []
        return [lane.topic for lane in self._ordered if not lane.chunks and lane.known_end > lane.position]

    def behind(self, ends: Mapping[str, int], applied: int) -> int:
        """Records before `ends` that are not applied, of which `applied` are; control records already read past
        do not count."""
        left = sum(max(0, ends[lane.topic] - lane.position) + lane.waiting() for lane in self._ordered)
        return left + self._taken - applied

    def take(self, limit: int) -> Batch[R] | None:
        """The next batch, of at most `limit` records; None where nothing is ready."""
        pieces: list[Piece[R]] = []
        left = limit
        while left > 0 and (piece := self._next_piece(left)) is not None:
            pieces.append(piece)
            left -= len(piece.records)
        if not pieces and not self._ticks():
            return None
        self._batches += 1
        self._taken += limit - left
        return Batch(self.partition, self._batches, pieces, self.clock_ms)

    def _ticks(self) -> bool:
        at_rest = not any(lane.chunks for lane in self._ordered)
        due_ms, self._tick_ms = self._tick_ms, NO_TIMESTAMP  # what arrived since makes the answer stale
        if not at_rest or due_ms <= self.clock_ms:
            return False
        self.clock_ms = due_ms
        return True

    def _next_piece(self, limit: int) -> Piece[R] | None:
        waiting = [lane for lane in self._ordered if lane.chunks]
        if not waiting:
            return None
        lane = min(waiting, key=_Lane.head_ms)  # min keeps the first of equals: the lower rank
        bound_ms = min((self._bound(lane, other) for other in self._ordered if other is not lane), default=None)
        chunk = lane.chunks[0]
        until = len(chunk.times_ms) if bound_ms is None else bisect_right(chunk.times_ms, bound_ms, chunk.taken)
        until = min(until, chunk.taken + limit)
        return None if until == chunk.taken else self._cut(lane, chunk, until)

    @staticmethod
    def _bound(lane: _Lane[R], other: _Lane[R]) -> int:
        """Up to which append time `lane` may go on before `other` is asked."""
        if not other.chunks:
            return other.complete_to_ms
        return other.head_ms() if lane.rank < other.rank else other.head_ms() - 1

    def _cut(self, lane: _Lane[R], chunk: _Chunk[R], until: int) -> Piece[R]:
        if chunk.taken == 0 and until == len(chunk.records):
            records, times_ms = chunk.records, chunk.times_ms
        else:
            records, times_ms = chunk.records[chunk.taken : until], chunk.times_ms[chunk.taken : until]
        chunk.taken = until
        if until == len(chunk.records):
            lane.chunks.popleft()
        if times_ms[0] < self.clock_ms:
            times_ms = [max(t, self.clock_ms) for t in times_ms]
        self.clock_ms = times_ms[-1]
        return Piece(lane.topic, records, times_ms)
