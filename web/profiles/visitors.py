"""Reads `events` for those of visitors whose user is not known: keeps them for a while, and forwards those of linked
visitors to their users.

A link, when it comes, forwards what is kept (`web.profiles.store`). After it, each event is forwarded as it is read.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import confluent_kafka
import orjson
from confluent_kafka import KafkaException, Message
from psycopg import Connection

from infra.kafka.connection import Connection as KafkaConnection
from infra.kafka.observer import ReaderObserver
from infra.postgres.database import Database
from infra.postgres.erased_people import erased_among, require_key
from schemas.people import NO_KEY, PersonHasher
from schemas.topics import EVENTS
from web.profiles import visitor_tables
from web.profiles.forwarding import forwarded, require_event
from web.profiles.once_reader import SAMPLE, OnceReader, Place
from web.profiles.replay import ReplayRules
from web.profiles.visitor_tables import VisitorEvent
from web.publisher import ANONYMOUS

DROP_EVERY_S = 60.0
ASK_S = 5.0
"""How long Kafka may take to find offsets by time; else reading begins with the topic."""


@dataclass(frozen=True, slots=True)
class AnonymousEvent:
    """An event of a visitor, and where its record stands."""

    anonymous_id: str
    event: bytes
    place: Place


class VisitorReader(OnceReader[AnonymousEvent]):
    """Writes `visitor_events`, and puts events for users into the outbox."""

    group = "ebbtide-web-visitors"
    topics = (EVENTS.name,)
    reader = "visitors"

    def __init__(
        self,
        connection: KafkaConnection,
        database: Database,
        halt: Event,
        rules: ReplayRules,
        session_timeout_ms: int = 10_000,
        instance: str | None = None,
        observer: ReaderObserver | None = None,
        clock: Callable[[], float] = time.time,
        hasher: PersonHasher = NO_KEY,
    ) -> None:
        super().__init__(connection, database, halt, session_timeout_ms, instance, observer)
        self._rules = rules
        self._hasher = hasher
        self._clock = clock
        self._drop_at_s = 0.0

    def item_of(self, record: Message, place: Place) -> AnonymousEvent | None:
        """The event, if it is of a visitor."""
        headers = record.headers()
        if not headers or ANONYMOUS not in dict(headers):
            return None
        anonymous_id = (record.key() or b"").decode()
        return AnonymousEvent(anonymous_id, require_event(anonymous_id, record.value()), place)

    def first_offsets(self, partitions: Sequence[int]) -> dict[int, int]:
        """Where the window begins: nothing before it is kept for anybody."""
        since_ms = int((self._clock() - self._rules.window.total_seconds()) * 1_000)
        wanted = [confluent_kafka.TopicPartition(EVENTS.name, partition, since_ms) for partition in partitions]
        try:
            found = self.consumer.offsets_for_times(wanted, timeout=ASK_S) if wanted else []
        except KafkaException:
            return super().first_offsets(partitions)
        return {each.partition: each.offset for each in found}

    def assigned(self, partitions: list[confluent_kafka.TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        """Begin at the offsets in the database. Raises OtherErasureKey."""
        self.database.run(lambda connection: require_key(connection, self._hasher))
        return super().assigned(partitions)

    def write_once(self, connection: Connection[Any], items: Sequence[AnonymousEvent]) -> None:
        """Forward the events of linked visitors, and keep the others; drop those of erased people."""
        visitors = {item.anonymous_id for item in items}
        connection.execute(*visitor_tables.hold(visitors, alone=False))
        users: dict[str, str] = dict(connection.execute(*visitor_tables.users_of(visitors)).fetchall())
        erased = erased_among(connection, self._hasher, visitors | {*users.values()})
        gone = erased | {visitor for visitor, user_id in users.items() if user_id in erased}
        items = [item for item in items if item.anonymous_id not in gone]
        if mine := [item for item in items if item.anonymous_id in users]:
            events = [forwarded(item.anonymous_id, users[item.anonymous_id], item.event) for item in mine]
            connection.execute(*visitor_tables.forward(events))
        if unknown := [item for item in items if item.anonymous_id not in users]:
            self._keep(connection, unknown)

    def samples(self) -> Sequence[AnonymousEvent]:
        """An event of a visitor who does not exist."""
        visitor = f"sample-{uuid.uuid4()}"
        now_us = int(self._clock() * 1_000_000)
        return [AnonymousEvent(visitor, orjson.dumps({"user_id": visitor}), SAMPLE._replace(appended_us=now_us))]

    def keep_up(self) -> None:
        """Note the progress, and drop what is too old."""
        super().keep_up()
        if time.monotonic() >= self._drop_at_s:
            self._drop_at_s = time.monotonic() + DROP_EVERY_S
            self.database.run(lambda connection: connection.execute(*visitor_tables.drop(self._rules.window)))

    def _keep(self, connection: Connection[Any], items: Sequence[AnonymousEvent]) -> None:
        """Keep the events that are recent, and of each visitor no more than the rules allow."""
        since_us = int((self._clock() - self._rules.window.total_seconds()) * 1_000_000)
        recent = [item for item in items if item.place.appended_us > since_us]
        if not recent:
            return
        visitors = {item.anonymous_id for item in recent}
        counts = connection.execute(*visitor_tables.kept_counts(visitors, self._rules.window, self._rules.most))
        kept: Counter[str] = Counter(dict(counts.fetchall()))
        rows = []
        for item in recent:
            kept[item.anonymous_id] += 1
            if kept[item.anonymous_id] <= self._rules.most:
                place = item.place
                rows.append(
                    VisitorEvent(item.anonymous_id, place.appended_us, place.partition, place.offset, item.event)
                )
        if rows:
            connection.execute(*visitor_tables.keep(rows))
