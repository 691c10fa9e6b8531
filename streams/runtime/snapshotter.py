"""When snapshots are taken: each partition's at an interval where enough was written since its last one, one partition
after the other, and at a graceful stop as many as there is time for.

The event loop gives a copy of one partition's dictionary at a time, a millisecond for 60,000 keys; writing is a
thread's. Why a file is right is snapshot.py's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog

from infra.kafka.offsets import EndOffsets
from infra.kafka.topics import TopicPartition
from streams.runtime.checkpointer import Checkpointer
from streams.runtime.recovery import RecoveredPartition
from streams.runtime.snapshot import Origin, Snapshot, SnapshotFolder
from streams.runtime.state import Partition

log = structlog.get_logger()

LOOK_S = 1.0
SHARE = 0.1
"""Of a partition's keys that must have been written since its last snapshot. So the files cost the disk about ten
times what the changelog does, and beside them a recovery reads a tenth of the state and an interval's records."""
RENEWALS = 4
"""How often a partition where little is written is saved again before its file would be too old to be used."""
ASK_S = 0.3
"""How long a stop waits for the broker to say where changelogs end."""
STOP_S = 2.0
"""How much of a stop's 5 s may have passed before the writing of snapshots is given up."""


@dataclass(slots=True)
class _HeldPartition:
    """A partition that is held, and its last snapshot."""

    partition: Partition[Any]
    origin: Origin
    max_age_s: float
    saved_s: float
    written: int
    """The partition's own count at the offset of its last snapshot."""

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.origin.topic, self.origin.partition)

    @property
    def behind(self) -> int:
        """Records that a recovery would have to read."""
        return self.partition.written - self.written

    def is_due(self, interval_s: float, now_s: float) -> bool:
        """Whether enough time has passed, and enough was written."""
        age_s, entries = now_s - self.saved_s, len(self.partition.raw)
        if age_s < interval_s or not (entries or self.behind):
            return False
        return age_s > self.max_age_s / RENEWALS or (self.behind > 0 and self.behind >= SHARE * entries)


@dataclass(frozen=True, slots=True)
class Round:
    """Partitions to be saved, and offsets for them, to be proven by a checkpoint that begins after they were asked."""

    due: Sequence[_HeldPartition]
    written: Mapping[TopicPartition, int]
    """How many records of each were committed before that."""
    offsets: Mapping[TopicPartition, int]
    asked_s: float


class Snapshotter:
    """Keeps the snapshots of the partitions that are held. Belongs to the event loop."""

    def __init__(self, folder: SnapshotFolder, checkpointer: Checkpointer, ends: EndOffsets, interval_s: float) -> None:
        self._folder = folder
        self._checkpointer = checkpointer
        self._ends = ends
        self._interval_s = interval_s
        self._kept: dict[TopicPartition, _HeldPartition] = {}
        self._pool = ThreadPoolExecutor(1, "snapshot")
        self._end_s = float("inf")

    def keep(self, partition: Partition[Any], found: RecoveredPartition) -> None:
        """A partition that was recovered."""
        if found.origin is not None:
            kept = _HeldPartition(partition, found.origin, found.max_age_s, found.saved_s, found.begin - found.end)
            self._kept[kept.place] = kept

    def drop(self) -> None:
        """All partitions are gone."""
        self._kept.clear()

    async def run(self, sleep: Callable[[float], Awaitable[None]], should_stop: Callable[[], bool]) -> None:
        """Takes snapshots when they are due, until `should_stop`."""
        self._folder.tidy()
        pause_s = min(LOOK_S, self._interval_s)
        while not should_stop():
            await sleep(pause_s)
            begun = await self._begin(self._interval_s)
            done = begun is None or (await self._checkpointer.checkpoint(proof=True) and await self.save(begun))
            pause_s = min(LOOK_S, self._interval_s) if done else self._interval_s

    async def begin_last(self) -> Round | None:
        """The round of a stop, whose checkpoint is the last; None where there is nothing to save or no answer.

        From here on writing is given up when a stop has no time left for it.
        """
        self._end_s = time.monotonic() + STOP_S
        try:
            async with asyncio.timeout(ASK_S):
                return await self._begin(0.0)
        except TimeoutError:
            return None

    async def save(self, begun: Round) -> bool:
        """Writes the partitions of a round whose offsets are proven, as far as they are still held; whether nothing
        was in the way."""
        began_s, count = time.monotonic(), 0
        for kept in begun.due:
            if kept.place in begun.offsets:
                if not await self._save(kept, begun):
                    return False
                count += 1
        log.info("snapshots_written", partitions=count, took_s=round(time.monotonic() - began_s, 3))
        return True

    async def _begin(self, interval_s: float) -> Round | None:
        asked_s = time.time()
        due = sorted((k for k in self._kept.values() if k.is_due(interval_s, asked_s)), key=lambda k: -k.behind)
        if not due:
            return None
        written = await self._checkpointer.between(lambda: {kept.place: kept.partition.written for kept in due})
        loop = asyncio.get_running_loop()
        offsets = await loop.run_in_executor(self._pool, self._ends.last_stable, list(written))
        return Round(due, written, offsets, asked_s) if offsets else None

    async def _save(self, kept: _HeldPartition, begun: Round) -> bool:
        place = kept.place
        entries = await self._checkpointer.between(lambda: dict(kept.partition.raw))
        if self._kept.get(place) is not kept:  # dropped, and what is at rest was perhaps not committed
            return True
        snapshot = Snapshot(entries, begun.offsets[place], begun.asked_s)
        loop = asyncio.get_running_loop()
        saved = await loop.run_in_executor(self._pool, self._folder.save, kept.origin, snapshot, self._has_time)
        if saved:
            kept.saved_s, kept.written = begun.asked_s, begun.written[place]
        return saved

    def _has_time(self) -> bool:
        return time.monotonic() < self._end_s
