"""Writes what recipients did to the topic `outcomes`: acknowledged by all in-sync replicas, or an error within 5 s."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.connection import Connection
from infra.service.faults import Fault, fault_of_kafka, kafka_error
from schemas.codec import PARTITIONER, encode
from schemas.outcomes import Outcome
from schemas.topics import OUTCOMES

ACKNOWLEDGED_WITHIN_MS = 4_000
POLL_S = 0.001
"""How often reports are asked for while a record is on its way. The call costs a microsecond; a thread costs more."""


class NotAcknowledged(Exception):
    """Kafka did not acknowledge a record in time. It may be there all the same."""


class Record(NamedTuple):
    """A record for Kafka."""

    topic: str
    key: bytes
    value: bytes


class OutcomeLog:
    """All methods belong to the event loop's thread; `run` must run."""

    def __init__(self, connection: Connection, within_ms: int = ACKNOWLEDGED_WITHIN_MS) -> None:
        self._producer = Producer(
            connection.client(
                partitioner=PARTITIONER, enable_idempotence=True, linger_ms=2, message_timeout_ms=within_ms
            )
        )
        self._on_way = 0
        self._sent = asyncio.Event()
        self._fatal: KafkaError | None = None

    async def write(self, outcomes: Sequence[Outcome]) -> None:
        """Return once all are durable; raises NotAcknowledged otherwise."""
        await self.append([Record(OUTCOMES.name, each.user_id.encode(), encode(each)) for each in outcomes])

    async def append(self, records: Sequence[Record]) -> None:
        """The same for records of any topic."""
        waiting = [self._produce(record) for record in records]
        self._sent.set()
        errors = [error for error in await asyncio.gather(*waiting) if error is not None]
        if errors:
            raise NotAcknowledged(errors[0].name())

    def _produce(self, record: Record) -> "asyncio.Future[KafkaError | None]":
        done: asyncio.Future[KafkaError | None] = asyncio.get_running_loop().create_future()

        def reported(error: KafkaError | None, _: Message) -> None:
            self._on_way -= 1
            self._end(done, error)

        try:
            self._producer.produce(record.topic, record.value, record.key, on_delivery=reported)
        except (KafkaException, BufferError) as error:
            self._end(done, kafka_error(error))
        else:
            self._on_way += 1
        return done

    def _end(self, done: "asyncio.Future[KafkaError | None]", error: KafkaError | None) -> None:
        if error is not None and fault_of_kafka(error) is Fault.PROCESS:
            self._fatal = error
            self._sent.set()
        if not done.done():
            done.set_result(error)

    async def run(self) -> None:
        """Take Kafka's reports, until cancelled. Raises KafkaException after an error that no wait ends."""
        while True:
            await self._sent.wait()
            self._sent.clear()
            while self._on_way and self._fatal is None:
                self._producer.poll(0)
                await asyncio.sleep(POLL_S)
            if self._fatal is not None:
                raise KafkaException(self._fatal)

    def close(self) -> None:
        """Let Kafka go. What is on its way is given up."""
        self._producer.close()
