"""Sees partitions of which nothing comes though there is more, and has them fetched afresh.

After a broker was killed and started again, confluent-kafka 2.16 was seen to fetch nothing any more of a partition that
it holds, for ever, and to say nothing of it (librdkafka's issues 4492 and 5153 are of this kind).

It looks from outside: where the intake stands against where the broker says that a read_committed reader could get to.
Behind records of transactions that were aborted, and behind markers, the intake stands as soon as it has been told of
the partition's end. Asked is only of partitions that stood still since the look before; of one where records flow,
nothing. It goes by looks and not by time, which passes also for a worker that is stopped.
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
"""Between two looks."""
REFETCH_AFTER = 5
"""After how many looks in a row that find a partition standing still before more it is fetched afresh."""
GIVEN_UP = 25
"""After how many the process ends: another one has another client. Longer than the minute after which librdkafka gives
up a request on a connection that died unnoticed, and makes another by itself."""


class FetchWatch:
    """Looks at what `intake` reads. `stalled` hears of each partition that is fetched afresh, `failed` when to end."""

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
        """Looks until `should_stop`."""
        while not should_stop():
            await sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """One look. A broker that does not answer, or an intake that was not free to read, starts the count anew."""
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
                self._failed(f"{stands}, and the client fetches nothing of it, also told to begin anew")

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
