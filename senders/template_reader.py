"""Reads what rules publish for delivery from the topic `rules`: templates, and a manifest's brands and endpoints."""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event

from confluent_kafka import Message

from infra.kafka.connection import Connection
from infra.kafka.follower import TopicFollower
from schemas import codec
from schemas.rules import CURRENT, Manifest, Text, text_hash, text_key
from schemas.topics import RULES
from senders.content.brand_book import BrandBook
from senders.content.templates import TemplateCache
from senders.policy.endpoints import EndpointBook

_PREFIX = text_key("").encode()


class TemplateReader(TopicFollower):
    """Reads the topic `rules` from its beginning until the process halts, and fills what it is given."""

    topic = RULES.name
    group = "ebbtide-templates"

    def __init__(
        self,
        connection: Connection,
        cache: TemplateCache,
        halt: Event,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        beat: Callable[[], None] = lambda: None,
        brands: BrandBook | None = None,
        endpoints: EndpointBook | None = None,
    ) -> None:
        super().__init__(connection, halt, beat)
        self._cache = cache
        self._brands = BrandBook() if brands is None else brands
        self._endpoints = EndpointBook() if endpoints is None else endpoints
        self._manifest = 0
        self._clock = clock

    def at_end(self) -> None:
        """The cache is complete now."""
        self._cache.complete(self._clock())

    def take(self, record: Message) -> None:
        """Keep a template, or drop one that was removed; or the brands and endpoints of a manifest."""
        key = record.key() or b""
        if key == CURRENT.encode():
            self._follow(record)
        if not key.startswith(_PREFIX):
            return
        digest = key.removeprefix(_PREFIX).decode("ascii", "replace")
        if record.value() is None:
            self._cache.drop(digest)
        else:
            self._keep(digest, record)

    def _follow(self, record: Message) -> None:
        """Keep the brands and endpoints of a manifest, unless it is older than the last, as stream workers do."""
        try:
            manifest = codec.decode(Manifest, record.value())
        except codec.DecodeError as error:
            self.log.warning("manifest_unreadable", offset=record.offset(), error=error.detail)
            return
        if manifest.number > self._manifest:
            self._manifest = manifest.number
            self._brands.put(manifest.brands)
            self._endpoints.put(manifest.endpoints)

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
