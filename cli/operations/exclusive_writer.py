"""One writer at a time, where reading, deciding and writing must not interleave with another's."""

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
        KafkaError.INVALID_TXN_STATE,  # the other one ended the transaction while records were on their way
    }
)


class WriterFenced(UserError):
    """Another writer has taken over; nothing of this one was written."""


class RecordToWrite(NamedTuple):
    """A record to write; the partitioner chooses its partition by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class ExclusiveWriter:
    """A transactional producer under a name that all who write the same thing share.

    Entering fences the writer that had the name before, and waits for what it committed: reads after that are
    complete. A writer that is fenced writes nothing more and raises WriterFenced.
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
        with suppress(KafkaException):  # of a producer that was ended, which `write` has told as WriterFenced
            self._producer.flush(0)
        del self._producer  # ends its connections, also where the traceback of an error keeps this object

    def write(self, entries: Iterable[RecordToWrite]) -> None:
        """Writes all of them, or raises and none of them is ever seen."""
        try:
            self._producer.begin_transaction()
            for entry in entries:
                self._producer.produce(entry.topic, entry.value, entry.key, headers=list(entry.headers))
            self._producer.commit_transaction(TIMEOUT_S)
        except KafkaException as exception:
            if exception.args[0].code() in FENCED:
                raise WriterFenced(
                    f"another writer took over {self._name}; see what it wrote, and run this again"
                ) from None
            raise
