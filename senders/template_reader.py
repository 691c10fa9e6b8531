"""Reads published templates from the topic `rules` into the template cache."""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

from confluent_kafka import Message

from infra.kafka.connection import Connection
from infra.kafka.follower import TopicFollower
from schemas import codec
from schemas.rules import Text, text_hash, text_key
from schemas.topics import RULES
from senders.content.templates import TemplateCache

_PREFIX = text_key("").encode()


class TemplateReader(TopicFollower):
    """Reads the topic `rules` from its beginning and fills a TemplateCache until the process halts."""

    topic = RULES.name
    group = "ebbtide-templates"

    def __init__(
        self,
        connection: Connection,
        cache: TemplateCache,
        halt: Event,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(connection, halt, beat)
        self._cache = cache
        self._clock = clock

    def at_end(self) -> None:
        """The cache is complete now."""
        self._cache.complete(self._clock())

    def take(self, record: Message) -> None:
        """Keep a template, or drop one that was removed."""
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
            self.log.warning("template_unreadable", offset=record.offset(), error=error.detail)
            return
        if text.kind != "template":
            return
        if text_hash(text.body) != digest:
            self.log.warning("template_hash_differs", path=text.path, offset=record.offset())
            return
        self._cache.put(digest, text)
