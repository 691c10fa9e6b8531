"""Tells the topic `outcomes` what the ledger came to: the ledger first, Kafka second, and then the ledger's flag.

A crash between the last two announces the same outcome again, with the same id and time, so readers know it. Nothing
is announced from memory: at start the announcer goes on with what the ledger says was never announced.
"""

import asyncio
from collections.abc import Callable, Collection
from itertools import groupby

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.connection import Connection
from infra.postgres.database import AsyncDatabase
from infra.service.faults import Fault, describe, fault_of_kafka, kafka_error
from infra.service.tasks import run_in_thread
from infra.service.watchdog import Watchdog
from schemas import codec
from schemas.topics import OUTCOMES
from schemas.waiting import event_within
from senders.queue import ledger
from senders.queue.ledger import OutboxMessage, OutboxRow

BATCH = 500
LOOK_EVERY_S = 1.0
GATHER_S = 0.02
"""How long the first outcome waits for company: a batch costs two transactions and a flush, whatever its size."""


class OutboxRelay:
    """Announces for the partitions that the worker holds."""

    def __init__(
        self,
        connection: Connection,
        database: AsyncDatabase,
        partitions: Callable[[], Collection[int]],
        announced: Callable[[], None],
        watchdog: Watchdog | None = None,
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._announced = announced
        self._watchdog = Watchdog() if watchdog is None else watchdog
        self._wake = asyncio.Event()
        self._given_up: set[str] = set()
        """Commands whose outcome cannot be announced; looked at again by the next process."""
        self._log = structlog.get_logger("senders.queue.outbox_relay")
        self._producer = Producer(
            connection.client(partitioner=codec.PARTITIONER, enable_idempotence=True, message_timeout_ms=0, linger_ms=2)
        )

    def wake(self) -> None:
        """There is something to announce."""
        self._wake.set()

    async def run(self) -> None:
        """Announce what comes, for ever."""
        while True:
            self._watchdog.beat()
            self._wake.clear()
            if await self.publish_batch() < BATCH:
                await event_within(self._wake, LOOK_EVERY_S)
                await asyncio.sleep(GATHER_S)

    async def publish_batch(self) -> int:
        """Announce up to a batch of what is waiting. Returns how many were."""
        partitions = sorted(self._partitions())
        if not partitions:
            return 0
        without = sorted(self._given_up)
        batch = await self._database.run(lambda connection: ledger.outbox_rows(connection, partitions, BATCH, without))
        if not batch:
            return 0
        told = await self._produce(batch)
        await self._mark_published(told)
        self._announced()
        return len(told)

    async def _mark_published(self, told: list[OutboxMessage]) -> None:
        """Take the flags away; halve where that fails, and leave a row alone whose flag cannot be taken away alone."""
        try:
            await self._database.run(lambda connection: ledger.mark_published(connection, told))
        except Exception as error:  # noqa: BLE001  # raised unless it is one row's fault
            if len(told) > 1:
                await self._mark_published(told[: len(told) // 2])
                await self._mark_published(told[len(told) // 2 :])
                return
            try:
                await self._database.run(lambda connection: ledger.mark_published(connection, []))
            except Exception as failure:
                raise error from failure
            for one in told:
                self._log.error("outcome_not_marked", command_id=one.outcome.command_id, error=describe(error))
                self._given_up.add(one.outcome.command_id)

    async def _produce(self, batch: list[OutboxRow]) -> list[OutboxMessage]:
        """Those that Kafka has for certain. Waits while Kafka is away."""
        told: list[OutboxMessage] = []
        refused: list[KafkaError] = []
        for row in batch:
            self._publish(row, told, refused)
        while await run_in_thread("outbox-flush", lambda: self._producer.flush(0.5)):
            self._watchdog.beat()
        for error in refused:
            if fault_of_kafka(error) is Fault.PROCESS:
                raise KafkaException(error)
        for name, same in groupby(sorted(error.name() for error in refused)):
            self._log.error("outcomes_refused", error=name, count=len(list(same)), next_step="they are tried again")
        return told

    def _publish(self, row: OutboxRow, told: list[OutboxMessage], refused: list[KafkaError]) -> None:
        """Hand one outcome to the producer: without what others have said where that fails, and else not at all."""
        for made in (row.message, row.bare_message):
            try:
                self._hand_over(made(), told, refused)
                return
            except Exception as error:  # noqa: BLE001  # one outcome must not hold up the others
                kafka = kafka_error(error)
                if kafka is not None and fault_of_kafka(kafka) is not Fault.ITEM:
                    refused.append(kafka)
                    return
                self._log.error("outcome_not_published", command_id=row.command_id, error=describe(error))
        self._given_up.add(row.command_id)

    def _hand_over(self, announcement: OutboxMessage, told: list[OutboxMessage], refused: list[KafkaError]) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                told.append(announcement)
            else:
                refused.append(error)

        outcome = announcement.outcome
        self._producer.produce(OUTCOMES.name, codec.encode(outcome), outcome.user_id.encode(), on_delivery=delivered)
