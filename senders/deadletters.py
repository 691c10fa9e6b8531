"""Dead letters as delivery writes them: what a reader could not read or keep goes to the topic `dead-letters`."""

from datetime import UTC, datetime
from threading import Event

import structlog
from confluent_kafka import KafkaError, Message, Producer

from schemas import codec
from schemas.deadletters import DeadLetter, b64
from schemas.topics import DEAD_LETTERS
from schemas.vocabulary import DeadLetterCause
from senders.database import Halted

LARGEST_KEPT = 600_000
"""Base64 makes a value a third larger, and Kafka's default limit is one megabyte a record."""


class DeadLetters:
    """Where one reader puts records aside. Used by one thread."""

    def __init__(self, kafka: str, reader: str, halt: Event) -> None:
        self._reader = reader
        self._halt = halt
        self._log = structlog.get_logger("senders.deadletters")
        self._failed: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": kafka,
                "partitioner": codec.PARTITIONER,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "linger.ms": 5,
            }
        )

    def put(self, record: Message, cause: DeadLetterCause, detail: str) -> None:
        """Put a record aside. It is there for certain once `flush` has returned."""
        value = record.value()
        if value is not None and len(value) > LARGEST_KEPT:
            detail = f"{detail} (value of {len(value)} bytes left out)"
            value = None
        letter = DeadLetter(
            topic=record.topic() or "",
            partition=record.partition() or 0,
            offset=record.offset() or 0,
            cause=cause,
            detail=detail[:2048],
            reader=self._reader,
            time=datetime.now(UTC),
            key=b64(record.key()),
            value=b64(value),
        )
        self._log.warning("dead_letter", place=letter.place, cause=cause.value, detail=letter.detail)
        self._producer.produce(
            DEAD_LETTERS.name, value=codec.encode(letter), key=record.key(), on_delivery=self._delivered
        )

    def flush(self) -> None:
        """Wait until all is on the topic. Raises Halted when the process stops first, RuntimeError when refused."""
        while self._producer.flush(0.5):
            if self._halt.is_set():
                raise Halted
        if self._failed:
            raise RuntimeError(f"{DEAD_LETTERS.name}: Kafka refused a dead letter: {self._failed[0].str()}")

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error)
