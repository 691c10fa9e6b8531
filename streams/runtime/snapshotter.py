"""Schedules snapshots: each partition at an interval if enough was written since its last one, one after the other, and
at a graceful stop as many as there is time for.

The event loop copies one partition's dictionary at a time, a millisecond for 60,000 keys; a thread writes the file.
snapshot.py explains why a file is correct.
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

CHECK_INTERVAL_S = 1.0
SHARE = 0.1
"""The share of a partition's keys that must have been written since its last snapshot. So the files write about ten
times as much as the changelog, and a recovery reads a tenth of the state and one interval's records besides them."""
REMOVED_S = 20.0
"""How old a snapshot may grow that has keys which were removed since: erased people must go from files too."""
OLD_S = 24 * 3600.0
"""After this a file cannot be used any more, and goes, whoever owns its partition: it may have erased people."""
TIDY_S = 3600.0
RENEWALS = 4
"""How often a partition with few writes is saved before its file is too old to be used."""
REQUEST_S = 0.3
"""How long a stop waits for the broker to return the ends of changelogs."""
STOP_S = 2.0
"""After how much of a stop's 5 s the writing of snapshots ends."""


@dataclass(slots=True)
class _OwnedPartition:
    """An owned partition and its last snapshot."""

    partition: Partition[Any]
    origin: Origin
    max_age_s: float
    saved_s: float
    written: int
    """`Partition.written` at the offset of its last snapshot."""
    removed: int = 0
    """`Partition.removed` at that offset."""

    @property
    def changelog(self) -> TopicPartition:
        return TopicPartition(self.origin.topic, self.origin.partition)

    @property
    def behind(self) -> int:
        """How many records a recovery would read."""
        return self.partition.written - self.written

    def is_due(self, interval_s: float, now_s: float) -> bool:
        """Whether enough time has passed and enough was written."""
        age_s, entries = now_s - self.saved_s, len(self.partition.raw)
        if self.partition.removed > self.removed:
            return age_s >= min(interval_s, REMOVED_S)
        if age_s < interval_s or not (entries or self.behind):
            return False
        return age_s > self.max_age_s / RENEWALS or (self.behind > 0 and self.behind >= SHARE * entries)


@dataclass(frozen=True, slots=True)
class SnapshotRound:
    """Partitions to save and their offsets. A checkpoint that begins after the request must prove the offsets."""

    due: Sequence[_OwnedPartition]
    written: Mapping[TopicPartition, tuple[int, int]]
    """How many records of each were committed before the request, and how many of them were tombstones."""
    offsets: Mapping[TopicPartition, int]
    requested_s: float


class Snapshotter:
    """Keeps snapshots of the owned partitions. Belongs to the event loop."""

    def __init__(self, folder: SnapshotFolder, checkpointer: Checkpointer, ends: EndOffsets, interval_s: float) -> None:
        self._folder = folder
        self._checkpointer = checkpointer
        self._ends = ends
        self._interval_s = interval_s
        self._owned: dict[TopicPartition, _OwnedPartition] = {}
        self._pool = ThreadPoolExecutor(1, "snapshot")
        self._end_s = float("inf")

    def keep(self, partition: Partition[Any], found: RecoveredPartition) -> None:
        """Adds a recovered partition."""
        if found.origin is not None:
            behind = found.begin - found.end, -found.removed
            owned = _OwnedPartition(partition, found.origin, found.max_age_s, found.saved_s, *behind)
            self._owned[owned.changelog] = owned

    def drop(self) -> None:
        """Drops all partitions."""
        self._owned.clear()

    async def run(self, sleep: Callable[[float], Awaitable[None]], should_stop: Callable[[], bool]) -> None:
        """Takes snapshots when they are due, until `should_stop`."""
        self._folder.tidy()
        pause_s, tidied_s = min(CHECK_INTERVAL_S, self._interval_s), 0.0
        while not should_stop():
            if time.monotonic() - tidied_s > TIDY_S:
                tidied_s = time.monotonic()
                await asyncio.get_running_loop().run_in_executor(self._pool, self._folder.drop_old, OLD_S)
            await sleep(pause_s)
            current = await self._begin(self._interval_s)
            done = current is None or (await self._checkpointer.checkpoint(force=True) and await self.save(current))
            pause_s = min(CHECK_INTERVAL_S, self._interval_s) if done else self._interval_s

    async def begin_final(self) -> SnapshotRound | None:
        """The round of a stop, before its last checkpoint; None if nothing is due or the broker does not answer.

        From now on, writing ends when the stop has no time left for it.
        """
        self._end_s = time.monotonic() + STOP_S
        try:
            async with asyncio.timeout(REQUEST_S):
                return await self._begin(0.0)
        except TimeoutError:
            return None

    async def save(self, current: SnapshotRound) -> bool:
        """Writes the partitions of a round whose offsets are proven, if they are still owned.

        Returns False if a file could not be written.
        """
        began_s, count = time.monotonic(), 0
        for owned in current.due:
            if owned.changelog in current.offsets:
                if not await self._save(owned, current):
                    return False
                count += 1
        log.info("snapshots_written", partitions=count, took_s=round(time.monotonic() - began_s, 3))
        return True

    async def _begin(self, interval_s: float) -> SnapshotRound | None:
        requested_s = time.time()
        due = sorted((k for k in self._owned.values() if k.is_due(interval_s, requested_s)), key=lambda k: -k.behind)
        if not due:
            return None
        written = await self._checkpointer.while_idle(
            lambda: {owned.changelog: (owned.partition.written, owned.partition.removed) for owned in due}
        )
        loop = asyncio.get_running_loop()
        offsets = await loop.run_in_executor(self._pool, self._ends.last_stable, list(written))
        return SnapshotRound(due, written, offsets, requested_s) if offsets else None

    async def _save(self, owned: _OwnedPartition, current: SnapshotRound) -> bool:
        changelog = owned.changelog
        entries = await self._checkpointer.while_idle(lambda: dict(owned.partition.raw))
        if self._owned.get(changelog) is not owned:  # it was dropped, so its state at rest may not be committed
            return True
        snapshot = Snapshot(entries, current.offsets[changelog], current.requested_s)
        loop = asyncio.get_running_loop()
        saved = await loop.run_in_executor(self._pool, self._folder.save, owned.origin, snapshot, self._has_time)
        if saved:
            owned.saved_s = current.requested_s
            owned.written, owned.removed = current.written[changelog]
        return saved

    def _has_time(self) -> bool:
        return time.monotonic() < self._end_s
