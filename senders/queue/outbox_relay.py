"""Publishes the ledger's outcomes on the topic `outcomes`: a transactional outbox.

The outcome is durable in the ledger first, then it is on the topic, then it leaves the outbox. After a crash between
the last two the same outcome is published again, with the same id and time, so readers recognize it. Nothing is
published from memory: at its start the relay continues with what the outbox holds.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
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
from senders.queue import outbox
from senders.queue.outbox import OutboxMessage, OutboxRow

BATCH = 500
POLL_INTERVAL_S = 1.0
READ_WHOLE_S = 60.0
"""How often the whole outbox is read. In between the relay begins at the number that it had reached LAG_S ago, so that
it passes no rows that it has deleted and that an old snapshot of another session keeps in the index."""
LAG_S = 5.0
"""A transaction that takes a number, and is committed later than this, waits for the next reading of the whole."""
GATHER_S = 0.1
"""How long the first outcome waits for others. A batch costs two transactions and a flush, whatever its size."""


class OutboxBeginning:
    """Where the relay begins to read the outbox. Times are of the loop's clock."""

    def __init__(self) -> None:
        self._partitions: Sequence[int] = ()
        self._whole_at_s = 0.0
        self._reached: deque[tuple[float, int]] = deque()

    def after(self, partitions: Sequence[int], now_s: float) -> int:
        """The number after which to read now: 0 for other partitions than before, and once in a while."""
        if partitions != self._partitions or now_s >= self._whole_at_s:
            self._partitions, self._whole_at_s = partitions, now_s + READ_WHOLE_S
            self._reached.clear()
        while len(self._reached) > 1 and self._reached[1][0] <= now_s - LAG_S:
            self._reached.popleft()
        if not self._reached or self._reached[0][0] > now_s - LAG_S:
            return 0
        return self._reached[0][1]

    def reached(self, number: int, now_s: float) -> None:
        """Everything read up to this number is published."""
        self._reached.append((now_s, number))


class OutboxRelay:
    """Publishes outcomes for the partitions that the worker holds."""

    def __init__(
        self,
        connection: Connection,
        database: AsyncDatabase,
        partitions: Callable[[], Collection[int]],
        on_published: Callable[[], None],
        watchdog: Watchdog | None = None,
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._on_published = on_published
        self._watchdog = Watchdog() if watchdog is None else watchdog
        self._wake = asyncio.Event()
        self._given_up: set[int] = set()
        """Outcomes that cannot be published, by their numbers. The next process tries again."""
        self._begin = OutboxBeginning()
        self._log = structlog.get_logger("senders.queue.outbox_relay")
        self._producer = Producer(
            connection.client(partitioner=codec.PARTITIONER, enable_idempotence=True, message_timeout_ms=0, linger_ms=2)
        )

    def wake(self) -> None:
        """Publish soon: there is a new outcome."""
        self._wake.set()

    async def run(self) -> None:
        """Publish outcomes, until cancelled."""
        while True:
            self._watchdog.beat()
            self._wake.clear()
            if await self.publish_batch() < BATCH:
                await event_within(self._wake, POLL_INTERVAL_S)
                await asyncio.sleep(GATHER_S)

    async def publish_batch(self) -> int:
        """Publish at most a batch. Returns the number published."""
        partitions = sorted(self._partitions())
        if not partitions:
            return 0
        without = sorted(self._given_up)
        after = self._begin.after(partitions, asyncio.get_running_loop().time())
        batch = await self._database.run(
            lambda connection: outbox.unpublished_rows(connection, partitions, BATCH, without, after), alone=True
        )
        if not batch:
            return 0
        published = await self._produce(batch)
        await self._mark_published(published)
        if len(published) == len(batch):
            self._begin.reached(batch[-1].number, asyncio.get_running_loop().time())
        self._on_published()
        return len(published)

    async def _mark_published(self, published: list[OutboxMessage]) -> None:
        """Mark rows as published. If that fails, mark the halves; give up a row that fails alone."""
        try:
            await self._database.run(lambda connection: outbox.mark_published(connection, published), alone=True)
        except Exception as error:  # noqa: BLE001  # raised unless it is one row's fault
            if len(published) > 1:
                await self._mark_published(published[: len(published) // 2])
                await self._mark_published(published[len(published) // 2 :])
                return
            try:
                await self._database.run(lambda connection: outbox.mark_published(connection, []))
            except Exception as failure:
                raise error from failure
            for message in published:
                self._log.error("outcome_not_marked", command_id=message.outcome.command_id, error=describe(error))
                self._given_up.add(message.number)

    async def _produce(self, batch: list[OutboxRow]) -> list[OutboxMessage]:
        """Publish a batch. Returns the outcomes that Kafka has acknowledged. Waits while Kafka is down."""
        published: list[OutboxMessage] = []
        refused: list[KafkaError] = []
        for row in batch:
            self._publish(row, published, refused)
        while await run_in_thread("outbox-flush", lambda: self._producer.flush(0.5)):
            self._watchdog.beat()
        for error in refused:
            if fault_of_kafka(error) is Fault.PROCESS:
                raise KafkaException(error)
        for name, same in groupby(sorted(error.name() for error in refused)):
            self._log.error(
                "outcomes_refused", error=name, count=len(list(same)), next_step="the relay tries them again"
            )
        return published

    def _publish(self, row: OutboxRow, published: list[OutboxMessage], refused: list[KafkaError]) -> None:
        """Give one outcome to the producer. If that fails, give it without the text of servers, or else give it up."""
        for make in (row.message, row.message_without_text):
            try:
                self._hand_over(make(), published, refused)
                return
            except Exception as error:  # noqa: BLE001  # one outcome must not hold up the others
                kafka = kafka_error(error)
                if kafka is not None and fault_of_kafka(kafka) is not Fault.ITEM:
                    refused.append(kafka)
                    return
                self._log.error("outcome_not_published", command_id=row.command_id, error=describe(error))
        self._given_up.add(row.number)

    def _hand_over(self, message: OutboxMessage, published: list[OutboxMessage], refused: list[KafkaError]) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                published.append(message)
            else:
                refused.append(error)

        outcome = message.outcome
        self._producer.produce(OUTCOMES.name, codec.encode(outcome), outcome.user_id.encode(), on_delivery=delivered)
