"""The templates: every template text on the topic `rules`, by its hash, compiled when first asked for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from threading import Event, Lock

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.kafka.connection import Connection
from schemas import codec
from schemas.rules import Text, text_hash, text_key
from schemas.topics import RULES
from senders.content.render import Template, TemplateError, parse_template

_PREFIX = text_key("").encode()


class Shelf:
    """Templates by hash. Filled by one thread, read by another."""

    def __init__(self) -> None:
        self._texts: dict[str, Text] = {}
        self._compiled: dict[str, Template | TemplateError] = {}
        self._lock = Lock()
        self._complete_since: datetime | None = None

    def complete(self, now: datetime) -> None:
        """Note that the topic has been read to its end; only the first time counts."""
        if self._complete_since is None:
            self._complete_since = now

    def waited(self, since: datetime, now: datetime) -> timedelta:
        """How long a template that is needed `since` then has been looked for in vain.

        Counted from when this process knew the whole topic: after a restart, a command that was admitted long ago
        must not fail for a template that is only still being read.
        """
        return timedelta(0) if self._complete_since is None else now - max(since, self._complete_since)

    def put(self, digest: str, text: Text) -> None:
        """Keep a template's text."""
        with self._lock:
            self._texts[digest] = text

    def drop(self, digest: str) -> None:
        """Forget a template that nothing refers to any more."""
        with self._lock:
            self._texts.pop(digest, None)
            self._compiled.pop(digest, None)

    def get(self, digest: str) -> Template | None:
        """The compiled template; None where it is not here (yet). Raises TemplateError where it is faulty."""
        with self._lock:
            text = self._texts.get(digest)
            if text is None:
                return None
            if digest not in self._compiled:
                self._compiled[digest] = _compiled(text)
            found = self._compiled[digest]
        if isinstance(found, TemplateError):
            raise found
        return found


def _compiled(text: Text) -> Template | TemplateError:
    try:
        return parse_template(PurePosixPath(text.path).stem, text.body)
    except TemplateError as problem:
        return problem


class TemplateReader:
    """Follows the topic `rules` from its beginning and fills a shelf until the process halts."""

    def __init__(
        self,
        connection: Connection,
        shelf: Shelf,
        halt: Event,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._beat = beat
        self._shelf = shelf
        self._clock = clock
        self._halt = halt
        self._log = structlog.get_logger("senders.content.templates")
        self._consumer = Consumer(
            connection.client(
                group_id="ebbtide-templates",  # needed by the library; nothing is committed
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                fetch_wait_max_ms=100,
            )
        )

    def run(self) -> None:
        """Read until the process halts."""
        self._consumer.assign([TopicPartition(RULES.name, 0, OFFSET_BEGINNING)])
        try:
            while not self._halt.is_set():
                self._beat()
                for record in self._consumer.consume(100, 0.1):
                    self._take(record)
        finally:
            self._consumer.close()

    def _take(self, record: Message) -> None:
        error = record.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            self._shelf.complete(self._clock())
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
            self._shelf.drop(digest)
        else:
            self._keep(digest, record)

    def _keep(self, digest: str, record: Message) -> None:
        """Keep a template whose text is what its key says. A command that names another finds it missing."""
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
        self._shelf.put(digest, text)
