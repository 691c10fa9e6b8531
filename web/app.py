"""An HTTP process from start to exit: it puts the parts together. Several such processes share one port."""

import asyncio
import socket
import sys
import uuid
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import uvloop

from infra.kafka.partition_counts import ask_partition_count
from infra.postgres.database import IDLE_IN_TRANSACTION_S, AsyncDatabase
from infra.postgres.stores import Stores
from infra.service.ending import Deadline, run_until_signalled
from infra.service.garbage import search_rarely
from infra.service.health import WorkerIdentity
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from schemas.people import PersonHasher
from schemas.topics import EVENTS, OUTCOMES, PROFILES
from web.http import Answer, Handler, Request
from web.ingest.calls import read
from web.ingest.catalogue import EnforcedCatalogue, load_catalogue
from web.ingest.rules import ReadingRules
from web.ingest.service import IngestService
from web.keys.key_store import KeyStore
from web.keys.rate_limiter import RateLimiter
from web.profiles.erasures import ErasedPeople
from web.profiles.replay import ReplayRules
from web.profiles.store import ProfileStore
from web.profiles.user_page import user_page
from web.recipients.app import RecipientsPart
from web.recipients.hit_recorder import NO_HITS
from web.server.asgi_bridge import asgi_handler
from web.server.bodies import BodyReader
from web.server.event_log import EventLog
from web.server.front_door import FrontDoor
from web.server.monitoring import WebHealth, WebMetrics
from web.server.process import HttpProcess
from web.server.routing import call_name, routed
from web.settings import WebSettings

SWITCH_S = 0.05
"""How long granian's threads wait for the interpreter before they interrupt the event loop. What they bring is handled
in its next turn anyway, between two of which it lets go: with Python's 5 ms, they only make both switch more often."""
END_WITHIN_S = 6.0
"""How long after the requests that it has taken everything else may take to end."""


def main(settings: WebSettings, identity: WorkerIdentity | None = None) -> None:
    """Serve until SIGTERM or SIGINT; then the process ends. Never returns. Raises UserError if it cannot start."""
    search_rarely()
    sys.setswitchinterval(SWITCH_S)
    deadline = Deadline(settings.stop_within_s + END_WITHIN_S)
    serve = partial(run, settings, identity=identity)
    run_until_signalled(serve, "web.app", deadline, identity, loop_factory=uvloop.new_event_loop)


def check_start(settings: WebSettings) -> int:
    """How many partitions the topics have. Raises UserError if no HTTP process can start with these settings.

    That is KafkaAway, AccessDenied, TopicsMissing or InvalidCatalogue.
    """
    _catalogue(settings)
    return ask_partition_count(settings.connection, [EVENTS.name, PROFILES.name, OUTCOMES.name], [])


def _catalogue(settings: WebSettings) -> EnforcedCatalogue | None:
    if settings.events_catalogue is None and settings.privacy_rules is None:
        return None
    key = settings.field_hash_key
    return load_catalogue(
        settings.events_catalogue, None if key is None else key.get_secret_value(), settings.privacy_rules
    )


async def run(settings: WebSettings, stop: asyncio.Event, identity: WorkerIdentity | None = None) -> None:
    """Serve until `stop` is set. Raises UserError, or OSError if a port is taken."""
    edges = _Edges(settings)
    stopping, loading = asyncio.create_task(stop.wait()), asyncio.create_task(edges.load())
    try:
        await asyncio.wait({stopping, loading}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            await edges.process(identity).run(stop)
    finally:
        stopping.cancel()
        loading.cancel()
        await edges.close()


class _Edges:
    """The parts of a process."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._kafka = Outage("kafka")
        self._stores = Stores.of(settings)
        self._databases: list[AsyncDatabase] = []
        self._watchdog = Watchdog()
        self._metrics = WebMetrics(call_name)
        self._catalogue = _catalogue(settings)
        self._keys = KeyStore(self._database())
        self._limiter = RateLimiter(self._database(), self._keys, f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}")
        replay = ReplayRules(timedelta(minutes=settings.replay_minutes), settings.replay_events)
        self._erased = ErasedPeople(self._database(), PersonHasher(settings.erasure_key.get_secret_value().encode()))
        self._profiles = ProfileStore(self._database(), self._database(), replay, erased=self._erased)
        self._events = EventLog(settings.connection, self._kafka, self._metrics)
        self._recipients = (
            RecipientsPart(settings, self._stores, self._profiles, self._watchdog, self._erased)
            if settings.public_url
            else None
        )

    def _database(self) -> AsyncDatabase:
        """A connection to the ledger for one task."""
        ledger = self._stores.ledger
        database = AsyncDatabase(ledger.url, ledger.outage, idle_in_transaction_s=IDLE_IN_TRANSACTION_S)
        self._databases.append(database)
        return database

    async def load(self) -> None:
        """Reads what must be known before the first request. Waits while PostgreSQL is away."""
        await self._keys.load()
        await self._erased.load()
        await self._limiter.trade()
        await self._events.look()

    def process(self, identity: WorkerIdentity | None) -> HttpProcess:
        """The process that serves."""
        settings, metrics = self._settings, self._metrics
        slot, restarts = (identity.slot, identity.restarts) if identity else (0, 0)
        health = WebHealth(slot, restarts, self._kafka)
        bodies = BodyReader(settings.body_bytes, settings.http_timeout_s)
        door = FrontDoor(self._handler(), bodies, metrics)
        metrics.watch(
            health,
            (self._kafka, *self._stores.outages),
            lambda: (self._events.events, self._events.bytes),
            lambda: door.in_flight,
            lambda: NO_HITS if self._recipients is None else self._recipients.recorder.counts,
        )
        parts = self._parts()
        return HttpProcess(settings, door, self._events, health, metrics, identity, parts, self._finish)

    def _handler(self) -> Handler:
        ingest = self._ingest()
        users = user_page(self._profiles, ingest.key_of)
        recipients, url = self._recipients, self._settings.public_url
        pages = _nothing if recipients is None else asgi_handler(recipients.app, urlsplit(url or "").scheme)
        return routed(ingest.answer, users, pages)

    def _ingest(self) -> IngestService:
        settings = self._settings
        rules = ReadingRules(lambda: uuid.uuid4().hex, settings.event_bytes, self._catalogue)
        return IngestService(
            find=self._keys.find,
            allow=self._limiter.allow,
            read=partial(read, rules=rules),
            log=self._events,
            store=self._profiles.store,
            observer=self._metrics,
            largest=settings.body_bytes,
            public_url=settings.public_url,
            erased=self._erased,
        )

    def _parts(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What runs beside the requests."""
        recipients = {} if self._recipients is None else {"recipients": self._recipients.run()}
        return {
            "write-keys": self._keys.run(),
            "erased-people": self._erased.run(),
            "rate-limits": self._limiter.run(),
            **recipients,
        }

    async def _finish(self) -> None:
        """Records what recipients did, as far as that is possible now."""
        if self._recipients is not None:
            await self._recipients.recorder.drain()

    async def close(self) -> None:
        """Gives back what other processes can use, and closes the connections."""
        await self._limiter.leave()
        await self._profiles.close()
        if self._recipients is not None:
            await self._recipients.close()
        for database in self._databases:
            await database.close()


async def _nothing(_: Request) -> Answer:
    return Answer(404, (("content-type", "text/plain; charset=utf-8"),), b"There is nothing here.\n")
