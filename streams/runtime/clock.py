"""The partition clock: merges the inputs of one partition number by append time into one order, with one clock.

The clock is the append time of the record being applied, or T once a request made after T found every input at its end.
It never goes back. A record may be applied when every other input either holds a later record, or was found at its end
by a request made after the record arrived. So no record overtakes one that was there before it.

Pure: receives records and the inputs' end offsets, and returns what is ready. Times are milliseconds. Append times are
only compared with append times; the worker's own clock moves a partition only when all its inputs are at their ends.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Generic, TypeVar

R = TypeVar("R")

NO_TIMESTAMP = -1
"""Earlier than every append time. Kafka uses the same number for a missing timestamp."""


@dataclass(frozen=True, slots=True)
class Piece(Generic[R]):
    """Consecutive records of one input, each with the clock at which it is applied."""

    topic: str
    records: Sequence[R]
    times_ms: Sequence[int]


@dataclass(frozen=True, slots=True)
class Batch(Generic[R]):
    """What a partition applies next: records in order, or a tick, which only moves the clock.

    `number` counts the batches of a partition without gaps since its assignment.
    """

    partition: int
    number: int
    pieces: Sequence[Piece[R]]
    clock_ms: int

    @property
    def is_tick(self) -> bool:
        """Whether it only moves the clock."""
        return not self.pieces

    def __len__(self) -> int:
        return sum(len(piece.records) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class EndQuery:
    """A request for the ends of inputs. An input that is read to its end is complete up to `as_of_ms`.

    With `tick`, all inputs are empty, and the clock may move to `as_of_ms` if all are complete.
    """

    topics: tuple[str, ...]
    as_of_ms: int
    tick: bool


@dataclass(slots=True)
class _Chunk(Generic[R]):
    records: list[R]
    times_ms: list[int]
    taken: int = 0


@dataclass(slots=True)
class _InputQueue(Generic[R]):
    """One input: the records that arrived and are not applied yet, and what is known about its end."""

    topic: str
    rank: int
    position: int
    chunks: deque[_Chunk[R]] = field(default_factory=deque)
    last_ms: int = NO_TIMESTAMP
    complete_to_ms: int = NO_TIMESTAMP
    known_end: int = 0

    def waiting(self) -> int:
        """The number of records that arrived and are not taken."""
        return sum(len(chunk.records) - chunk.taken for chunk in self.chunks)

    def head_ms(self) -> int:
        chunk = self.chunks[0]
        return chunk.times_ms[chunk.taken]


class PartitionClock(Generic[R]):
    """Merges the inputs of one partition number. `positions` are the offsets at which they begin, in order of rank.

    Among records with equal append times, those of the input with the lower rank come first. `weights` says by topic
    as how many records of a batch one record counts.
    """

    def __init__(
        self,
        partition: int,
        positions: Mapping[str, int],
        clock_ms: int = NO_TIMESTAMP,
        weights: Mapping[str, int] | None = None,
    ) -> None:
        self.partition = partition
        self.clock_ms = clock_ms
        self._weights = weights or {}
        self._queues = {t: _InputQueue[R](t, rank, at) for rank, (t, at) in enumerate(positions.items())}
        self._ordered = list(self._queues.values())
        self._tick_ms = NO_TIMESTAMP
        self._batches = 0
        self._taken = 0

    def push(self, topic: str, records: list[R], times_ms: list[int], position: int) -> None:
        """Adds the next records of one input. `position` is the offset after them.

        Without records, it says that there are none before `position`.
        """
        queue = self._queues[topic]
        queue.position = max(queue.position, position)
        if not records:
            return
        times_ms[0] = max(times_ms[0], queue.last_ms)
        rising = times_ms
        if times_ms != sorted(
            times_ms
        ):  # an append time below its predecessor's means that a broker's clock was set back
            rising = list(accumulate(times_ms, max))
        queue.last_ms = rising[-1]
        queue.chunks.append(_Chunk(records, rising))

    def end_query(self, now_ms: int) -> EndQuery | None:
        """The ends that must be known before more can be applied; None if there are none. Send the request at once."""
        empty = [queue for queue in self._ordered if not queue.chunks]
        if not empty:
            return None
        if len(empty) == len(self._ordered):
            as_of_ms = now_ms - 1  # more records may come in the current millisecond
            tick = as_of_ms > self.clock_ms
            return EndQuery(tuple(self._queues), as_of_ms, tick=True) if tick else None
        newest_ms = max(queue.last_ms for queue in self._ordered if queue.chunks)
        unknown = tuple(queue.topic for queue in empty if queue.complete_to_ms < newest_ms)
        return EndQuery(unknown, newest_ms, tick=False) if unknown else None

    def receive_ends(self, query: EndQuery, ends: Mapping[str, int]) -> None:
        """Receives the end offsets that were requested for `query`. An input without one stays unknown."""
        settled = 0
        for topic in query.topics:
            end, queue = ends.get(topic), self._queues[topic]
            if end is None:
                continue
            queue.known_end = max(queue.known_end, end)
            if queue.position >= end:
                settled += 1
                if not query.tick:
                    queue.complete_to_ms = max(queue.complete_to_ms, query.as_of_ms)
        if query.tick and settled == len(self._queues):
            self._tick_ms = query.as_of_ms

    def starving(self) -> list[str]:
        """The inputs whose next records exist and have not arrived, while records of other inputs wait for them."""
        if not any(queue.chunks for queue in self._ordered):
            return []
        return [queue.topic for queue in self._ordered if not queue.chunks and queue.known_end > queue.position]

    def lag(self, ends: Mapping[str, int], applied: int) -> int:
        """The number of records before `ends` that are not applied. `applied` is how many are.

        Control records that were already read past do not count.
        """
        left = sum(max(0, ends[queue.topic] - queue.position) + queue.waiting() for queue in self._ordered)
        return left + self._taken - applied

    def take(self, limit: int) -> Batch[R] | None:
        """The next batch, of at most `limit` records, or one that counts for more; None if nothing is ready."""
        pieces: list[Piece[R]] = []
        left = limit
        while left > 0 and (piece := self._next_piece(left)) is not None:
            pieces.append(piece)
            left -= len(piece.records) * self._weights.get(piece.topic, 1)
        if not pieces and not self._ticks():
            return None
        self._batches += 1
        batch = Batch(self.partition, self._batches, pieces, self.clock_ms)
        self._taken += len(batch)
        return batch

    def _ticks(self) -> bool:
        is_empty = not any(queue.chunks for queue in self._ordered)
        due_ms, self._tick_ms = self._tick_ms, NO_TIMESTAMP  # records that arrived since make it stale
        if not is_empty or due_ms <= self.clock_ms:
            return False
        self.clock_ms = due_ms
        return True

    def _next_piece(self, limit: int) -> Piece[R] | None:
        waiting = [queue for queue in self._ordered if queue.chunks]
        if not waiting:
            return None
        queue = min(waiting, key=_InputQueue.head_ms)  # min keeps the first of equals: the lower rank
        bound_ms = min((self._bound(queue, other) for other in self._ordered if other is not queue), default=None)
        chunk = queue.chunks[0]
        until = len(chunk.times_ms) if bound_ms is None else bisect_right(chunk.times_ms, bound_ms, chunk.taken)
        until = min(until, chunk.taken + max(1, limit // self._weights.get(queue.topic, 1)))
        return None if until == chunk.taken else self._cut(queue, chunk, until)

    @staticmethod
    def _bound(queue: _InputQueue[R], other: _InputQueue[R]) -> int:
        """The append time up to which `queue` may continue before `other` must be known."""
        if not other.chunks:
            return other.complete_to_ms
        return other.head_ms() if queue.rank < other.rank else other.head_ms() - 1

    def _cut(self, queue: _InputQueue[R], chunk: _Chunk[R], until: int) -> Piece[R]:
        if chunk.taken == 0 and until == len(chunk.records):
            records, times_ms = chunk.records, chunk.times_ms
        else:
            records, times_ms = chunk.records[chunk.taken : until], chunk.times_ms[chunk.taken : until]
        chunk.taken = until
        if until == len(chunk.records):
            queue.chunks.popleft()
        if times_ms[0] < self.clock_ms:
            times_ms = [max(t, self.clock_ms) for t in times_ms]
        self.clock_ms = times_ms[-1]
        return Piece(queue.topic, records, times_ms)
