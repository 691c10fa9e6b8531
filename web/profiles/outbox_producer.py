"""Writes entries of the outbox to Kafka: profiles, and events of visitors for their users.

Not in transactions: the streams read `profiles` and `events` up to the first open one, and would wait for a process
that died in it.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.connection import Connection
from infra.service.faults import Fault, fault_of_kafka, kafka_error
from schemas.codec import PARTITIONER
from schemas.topics import EVENTS, PROFILES
from web.profiles.cut import published_cut
from web.profiles.outbox import LEASE_S, OutboxBatch, OutboxEntry
from web.profiles.profile_state import decode

VERSION_HEADER = "ebbtide-profile-version"
"""On each profile that web publishes: the version in the store, and 0 for the removal of a user."""
PUBLICATION_HEADER = "ebbtide-publication"
"""On each profile that web publishes: the number of its publication."""
REPLAYED_HEADER = "ebbtide-replayed-for"
"""On each event of a visitor that is credited to a user: the anonymous id. The event has it too, as `anonymous_id`."""
WRITE_WITHIN_S = LEASE_S * 0.6
"""After this nothing is written any more, so that a process that was frozen writes nothing behind its successor."""
ANSWER_S = 1.0


class OutboxRecord(NamedTuple):
    """A record for Kafka, and the numbers of the entries that it stands for."""

    numbers: Sequence[int]
    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]
    left_out: int = 0
    """How many attributes of the profile are not in it, because it would be too large."""


def records_of(batch: OutboxBatch) -> list[OutboxRecord]:
    """The records of a batch. A user who stands there several times has one profile record."""
    profiles: dict[str, list[int]] = {}
    records = []
    for entry in batch.entries:
        if entry.event is not None:
            header = (REPLAYED_HEADER, (entry.anonymous_id or "").encode())
            records.append(OutboxRecord([entry.number], EVENTS.name, entry.user_id.encode(), entry.event, [header]))
        elif entry.user_id in profiles:
            profiles[entry.user_id].append(entry.number)
        else:
            profiles[entry.user_id] = [entry.number]
            records.append(_profile_record(entry, profiles[entry.user_id], batch.publication))
    return records


def _profile_record(entry: OutboxEntry, numbers: Sequence[int], publication: int) -> OutboxRecord:
    value, left_out = (None, 0) if entry.state is None else published_cut(entry.user_id, decode(entry.state))
    headers: list[tuple[str, str | bytes | None]] = [
        (VERSION_HEADER, b"%d" % (entry.version or 0)),
        (PUBLICATION_HEADER, b"%d" % publication),
    ]
    return OutboxRecord(numbers, PROFILES.name, entry.user_id.encode(), value, headers, left_out)


class Publication:
    """What became of records: the entries that are done, those that Kafka never takes, and an error if there is one."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.refused: list[int] = []
        self.cut = 0
        """How many profiles were published without some of their attributes."""
        self.error: KafkaError | None = None

    def note(self, record: OutboxRecord, error: KafkaError | None, _: Message | None = None) -> None:
        """Note what became of one record."""
        if error is None:
            self.done += record.numbers
        elif fault_of_kafka(error) is Fault.ITEM:
            self.refused += record.numbers
        else:
            self.error = error


class OutboxProducer:
    """Writes records in their order, each acknowledged by all in-sync replicas."""

    def __init__(self, connection: Connection) -> None:
        self._producer = Producer(
            connection.client(
                partitioner=PARTITIONER,
                enable_idempotence=True,
                message_timeout_ms=int(WRITE_WITHIN_S * 1_000),
                compression_type="lz4",
                linger_ms=2,
            )
        )

    def publish(self, records: Sequence[OutboxRecord]) -> Publication:
        """Write records. Blocks until each is written or given up, within WRITE_WITHIN_S."""
        publication = Publication()
        publication.cut = sum(record.left_out > 0 for record in records)
        for record in records:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=record.headers,
                    on_delivery=partial(publication.note, record),
                )
            except (KafkaException, BufferError) as error:
                publication.note(record, kafka_error(error) or KafkaError(KafkaError._FAIL))
                break
        self._producer.flush()
        return publication

    def answers(self) -> bool:
        """Whether Kafka answers within ANSWER_S. Blocks."""
        try:
            self._producer.list_topics(PROFILES.name, timeout=ANSWER_S)
        except KafkaException:
            return False
        return True
