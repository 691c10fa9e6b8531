"""Reads published templates from the topic `rules` into the template cache."""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.kafka.connection import Connection
from infra.kafka.offsets import EndOffsets
from infra.kafka.stalls import ENDS_TIMEOUT_S, StallGuard
from schemas import codec
from schemas.rules import Text, text_hash, text_key
from schemas.topics import RULES
from senders.content.templates import TemplateCache

BATCH = 100
POLL_S = 0.1
_PREFIX = text_key("").encode()


class TemplateReader:
    """Reads the topic `rules` from its beginning and fills a TemplateCache until the process halts."""

    def __init__(
        self,
        connection: Connection,
        cache: TemplateCache,
        halt: Event,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._beat = beat
        self._cache = cache
        self._clock = clock
        self._halt = halt
        self._log = structlog.get_logger("senders.template_reader")
        self._consumer = Consumer(
            connection.client(
                group_id="ebbtide-templates",  # librdkafka requires one; nothing is committed
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                fetch_wait_max_ms=100,
            )
        )
        self._guard = StallGuard(self._consumer, EndOffsets(AdminClient(connection.client()), ENDS_TIMEOUT_S))

    def run(self) -> None:
        """Read until the process halts."""
        partitions = [TopicPartition(RULES.name, 0, OFFSET_BEGINNING)]
        self._consumer.assign(partitions)
        self._guard.assigned(partitions)
        try:
            while not self._halt.is_set():
                self._beat()
                messages = self._consumer.consume(BATCH, POLL_S)
                for message in messages:
                    self._take(message)
                self._guard.consumed(messages, BATCH)
        finally:
            self._consumer.close()

    def _take(self, record: Message) -> None:
        error = record.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            self._cache.complete(self._clock())
            return
        if error is not None:
            if error.fatal():
                raise KafkaException(error)
            self._log.warning("kafka_reader", topic=RULES.name, error=error.name())
            return
        key = record.key() or b""
        if not key.startswith(_PREFIX):
            return
        digest = key.removeprefix(_PREFIX).decode("ascii", "replace")
        if record.value() is None:
            self._cache.drop(digest)
        else:
            self._keep(digest, record)

    def _keep(self, digest: str, record: Message) -> None:
        """Keep a template if its text has the hash in its key. Otherwise it stays missing."""
        try:
            text = codec.decode(Text, record.value())
        except codec.DecodeError as error:
            self._log.warning("template_unreadable", offset=record.offset(), error=error.detail)
            return
        if text.kind != "template":
            return
        if text_hash(text.body) != digest:
            self._log.warning("template_hash_differs", path=text.path, offset=record.offset())
            return
        self._cache.put(digest, text)
