"""Finds partitions that the client silently stopped fetching, and has the intake fetch them again.

`infra.kafka.stalls` has the reason and the count. Here the positions are the intake's: the end-of-partition event moves
them past aborted records and transaction markers.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from confluent_kafka import KafkaException

from infra.kafka.offsets import EndOffsets
from infra.kafka.stalls import CHECK_INTERVAL_S, FAIL_AFTER, SEEK_AFTER, StallCounter
from infra.kafka.topics import TopicPartition
from streams.runtime.intake import Intake

log = structlog.get_logger()


class FetchWatch:
    """Checks what `intake` fetches. Calls `stalled` for each partition fetched again, `failed` to end the process."""

    def __init__(
        self,
        intake: Intake,
        ends: EndOffsets,
        stalled: Callable[[TopicPartition], object],
        failed: Callable[[str], object],
    ) -> None:
        self._intake = intake
        self._ends = ends
        self._stalled = stalled
        self._failed = failed
        self._counter = StallCounter()

    async def run(self, sleep: Callable[[float], Awaitable[None]], should_stop: Callable[[], bool]) -> None:
        """Checks until `should_stop` returns True."""
        while not should_stop():
            await sleep(CHECK_INTERVAL_S)
            await self.check()

    async def check(self) -> None:
        """Checks once. If the broker does not answer, or a partition could not be fetched, its count starts again."""
        try:
            positions = await asyncio.wrap_future(self._intake.fetchable_positions())
        except KafkaException:  # the consume thread has ended: at a stop, or for a reason that ends the process
            self._counter.reset()
            return
        unmoved = self._counter.unmoved(positions)
        loop = asyncio.get_running_loop()
        ends = await loop.run_in_executor(None, self._ends.last_stable, list(unmoved)) if unmoved else {}
        for tp, count in self._counter.count(unmoved, ends).items():
            if count == SEEK_AFTER:
                await self._refetch(tp, unmoved[tp], ends[tp])
            elif count >= FAIL_AFTER:
                self._failed(
                    f"{tp} is at offset {unmoved[tp]} of {ends[tp]}, and the client fetches nothing from it, even "
                    "after a seek"
                )

    async def _refetch(self, tp: TopicPartition, position: int, end: int) -> None:
        refused = None
        try:
            if not await asyncio.wrap_future(self._intake.refetch(tp, position)):
                return
        except KafkaException as exception:  # the checks go on, and end the process
            refused = str(exception)
        log.warning("fetch_stalled", place=str(tp), at=position, end=end, refused=refused)
        self._stalled(tp)
