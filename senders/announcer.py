"""Tells the topic `outcomes` what the ledger came to: the ledger first, Kafka second, and then the ledger's flag.

A crash between the last two announces the same outcome again, with the same id and time, so readers know it. Nothing
is announced from memory: at start the announcer goes on with what the ledger says was never announced.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import groupby

import structlog
from confluent_kafka import KafkaError, Message, Producer

from schemas import codec
from schemas.topics import OUTCOMES
from senders import ledger
from senders.database import AsyncDatabase
from senders.ledger import Announcement

BATCH = 500
LOOK_EVERY_S = 1.0
GATHER_S = 0.02
"""How long the first outcome waits for company: a batch costs two transactions and a flush, whatever its size."""


class Announcer:
    """Announces for the partitions that the worker holds."""

    def __init__(
        self,
        kafka: str,
        database: AsyncDatabase,
        partitions: Callable[[], Collection[int]],
        announced: Callable[[], None],
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._announced = announced
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("senders.announcer")
        self._producer = Producer(
            {
                "bootstrap.servers": kafka,
                "partitioner": codec.PARTITIONER,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "linger.ms": 2,
            }
        )

    def wake(self) -> None:
        """There is something to announce."""
        self._wake.set()

    async def run(self) -> None:
        """Announce what comes, for ever."""
        while True:
            self._wake.clear()
            if await self.announce_batch() < BATCH:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_S)
                await asyncio.sleep(GATHER_S)

    async def announce_batch(self) -> int:
        """Announce up to a batch of what is waiting. Returns how many were found."""
        partitions = sorted(self._partitions())
        if not partitions:
            return 0
        batch = await self._database.run(lambda connection: ledger.unannounced(connection, partitions, BATCH))
        if batch:
            told = await self._produce(batch)
            await self._database.run(lambda connection: ledger.announced(connection, told))
            self._announced()
        return len(batch)

    async def _produce(self, batch: list[Announcement]) -> list[Announcement]:
        """Those that Kafka has for certain. Waits while Kafka is away."""
        told: list[Announcement] = []
        refused: list[KafkaError] = []
        for announcement in batch:

            def delivered(error: KafkaError | None, _: Message, announcement: Announcement = announcement) -> None:
                if error is None:
                    told.append(announcement)
                else:
                    refused.append(error)

            outcome = announcement.outcome
            self._producer.produce(
                OUTCOMES.name, codec.encode(outcome), outcome.user_id.encode(), on_delivery=delivered
            )
        while await asyncio.to_thread(self._producer.flush, 0.5):
            pass
        for name, same in groupby(sorted(error.name() for error in refused)):
            self._log.error("outcomes_refused", error=name, count=len(list(same)), next_step="they are tried again")
        return told
