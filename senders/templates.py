"""The templates: every template text on the topic `rules`, by its hash, compiled when first asked for."""

from pathlib import PurePosixPath
from threading import Event, Lock

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from schemas import codec
from schemas.rules import Text, text_hash, text_key
from schemas.topics import RULES
from senders.render import Template, TemplateError, parse_template

_PREFIX = text_key("").encode()


class Shelf:
    """Templates by hash. Filled by one thread, read by another."""

    def __init__(self) -> None:
        self._texts: dict[str, Text] = {}
        self._compiled: dict[str, Template | TemplateError] = {}
        self._lock = Lock()

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

    def __init__(self, kafka: str, shelf: Shelf, halt: Event) -> None:
        self._shelf = shelf
        self._halt = halt
        self._log = structlog.get_logger("senders.templates")
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "ebbtide-templates",  # needed by the library; nothing is committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
            }
        )

    def run(self) -> None:
        """Read until the process halts."""
        self._consumer.assign([TopicPartition(RULES.name, 0, OFFSET_BEGINNING)])
        try:
            while not self._halt.is_set():
                for record in self._consumer.consume(100, 0.1):
                    self._take(record)
        finally:
            self._consumer.close()

    def _take(self, record: Message) -> None:
        error = record.error()
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
