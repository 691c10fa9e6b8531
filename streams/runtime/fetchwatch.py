"""Detects partitions that deliver nothing although they hold more records, and fetches them again.

After a broker was killed and restarted, confluent-kafka 2.16 stopped fetching an assigned partition for ever, without
an error (librdkafka's issues 4492 and 5153 are of this kind).

The watch compares the intake's position with the end that the broker reports to a read_committed reader. The end-of-
partition event moves the intake's position past aborted records and transaction markers. Only partitions whose position
did not move since the last check cause a request. The watch counts checks, not time: time also passes while the process
is stopped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from confluent_kafka import KafkaException

from infra.kafka.offsets import EndOffsets
from infra.kafka.topics import TopicPartition
from streams.runtime.intake import Intake

log = structlog.get_logger()

LOOK_S = 3.0
"""Between two checks."""
REFETCH_AFTER = 5
"""After this many checks in a row that find a partition stalled, it is fetched again."""
GIVEN_UP = 25
"""After this many the process ends: its successor has a new client. Longer than the minute after which librdkafka drops
a request on a dead connection and reconnects by itself."""


class FetchWatch:
    """Checks what `intake` reads. Calls `stalled` for each partition fetched again, `failed` to end the process."""

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
        self._stood: dict[TopicPartition, int] = {}
        self._looks: dict[TopicPartition, int] = {}

    async def run(self, sleep: Callable[[float], Awaitable[None]], should_stop: Callable[[], bool]) -> None:
        """Checks until `should_stop` returns True."""
        while not should_stop():
            await sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """One check. If the broker does not answer, or the intake was not free to read, the count restarts."""
        try:
            before, self._stood = self._stood, await asyncio.wrap_future(self._intake.unhindered())
        except KafkaException:  # the consume thread has ended: at a stop, or for a reason that ends the process
            self._stood, self._looks = {}, {}
            return
        still = {place: at for place, at in self._stood.items() if before.get(place) == at}
        loop = asyncio.get_running_loop()
        ends = await loop.run_in_executor(None, self._ends.last_stable, list(still)) if still else {}
        self._looks = {p: self._looks.get(p, 0) + 1 for p, at in still.items() if ends.get(p, 0) > at}
        await self._refetch(
            {place: still[place] for place, looks in self._looks.items() if looks == REFETCH_AFTER}, ends
        )
        for place, looks in self._looks.items():
            if looks >= GIVEN_UP:
                stands = f"{place} stands at {still[place]} and goes to {ends[place]}"
                self._failed(f"{stands}, and the client fetches nothing of it, even after a new fetch")

    async def _refetch(self, places: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        for place, at in places.items():
            refused = None
            try:
                if not await asyncio.wrap_future(self._intake.refetch(place, at)):
                    continue
            except KafkaException as exception:  # it is looked at again, and ends the process in the end
                refused = str(exception)
            log.warning("fetch_stalled", place=str(place), at=at, end=ends[place], refused=refused)
            self._stalled(place)
