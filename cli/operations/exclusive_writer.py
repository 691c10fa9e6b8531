"""One writer at a time: its reading, deciding and writing do not interleave with another writer's."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException, Producer

from infra.kafka.client import TIMEOUT_S, client_config
from schemas.codec import PARTITIONER
from schemas.errors import UserError

TRANSACTION_MS = 5_000
"""How long the open transaction of a killed writer can hide later records, unless another writer ends it."""
FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_TXN_STATE,  # the other writer ended the transaction while records were in flight
    }
)


class WriterFenced(UserError):
    """Another writer has taken over; this one wrote nothing."""


class RecordToWrite(NamedTuple):
    """A record to write. The partitioner chooses its partition by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class ExclusiveWriter:
    """A transactional producer. All writers of the same records share its name.

    Entering the block fences the previous writer of that name and waits for its commits, so later reads are complete. A
    fenced writer writes nothing more and raises WriterFenced.
    """

    def __init__(self, kafka: str, name: str) -> None:
        self._name = name
        settings: dict[str, str | int | float | bool] = {
            "transactional.id": name,
            "transaction.timeout.ms": TRANSACTION_MS,
            "partitioner": PARTITIONER,
            "compression.type": "lz4",
        }
        self._producer = Producer(client_config(kafka, **settings))

    def __enter__(self) -> Self:
        self._producer.init_transactions(TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(KafkaException):  # a fenced producer: `write` has raised WriterFenced
            self._producer.flush(0)
        del self._producer  # ends its connections, also where the traceback of an error keeps this object

    def write(self, entries: Iterable[RecordToWrite]) -> None:
        """Writes all records in one transaction, or raises and writes none."""
        try:
            self._producer.begin_transaction()
            for entry in entries:
                self._producer.produce(entry.topic, entry.value, entry.key, headers=list(entry.headers))
            self._producer.commit_transaction(TIMEOUT_S)
        except KafkaException as exception:
            if exception.args[0].code() in FENCED:
                raise WriterFenced(
                    f"another writer took over {self._name}; check what it wrote, then run this again"
                ) from None
            raise
