"""Publishes records for commands, and reports every record that Kafka did not take."""

from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, Message, Producer

from infra.kafka.client import TIMEOUT_S, client_config
from schemas.codec import PARTITIONER
from schemas.errors import UserError


class PublishError(UserError):
    """Records that Kafka did not take, with the first reason."""


class Publisher:
    """A producer that never loses a record silently: leaving the `with` block flushes, and raises PublishError."""

    def __init__(self, kafka: str, **config: str | int | float | bool) -> None:
        settings: dict[str, str | int | float | bool] = {
            "partitioner": PARTITIONER,
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 200_000,
        }
        self._producer = Producer(client_config(kafka, **(settings | config)))
        self._failed: list[str] = []
        self.sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()

    def send(self, topic: str, key: bytes | None, value: bytes | None, partition: int | None = None) -> None:
        """Queues one record; waits while the queue is full."""
        where = {} if partition is None else {"partition": partition}
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._delivered, **where)  # type: ignore[arg-type]
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self, timeout_s: float = TIMEOUT_S) -> None:
        """Waits until all is written; raises PublishError where something is not."""
        left = self._producer.flush(timeout_s)
        if left:
            raise PublishError(f"records not written within {timeout_s:g} s: {left}; is Kafka up?")
        if self._failed:
            count, first = len(self._failed), self._failed[0]
            self._failed.clear()
            raise PublishError(f"records refused: {count}, the first with: {first}")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.sent += 1
        else:
            self._failed.append(f"{message.topic()}: {error.str()}")
