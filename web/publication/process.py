"""One profile worker: it publishes the outbox, reads what that and the ledger of consent need, and shows how far it is.

Workers share the partitions of the topics, and take turns at the outbox (`web.profiles.outbox_publisher`).
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from threading import Event
from typing import Any

import structlog

from infra.kafka.batch_reader import BatchReader
from infra.kafka.partition_counts import partition_count_once_there
from infra.postgres.database import IDLE_IN_TRANSACTION_S, AsyncDatabase
from infra.postgres.migrate import require_migrated
from infra.postgres.stores import Stores
from infra.service.health import Phase, WorkerIdentity
from infra.service.outages import Outage
from infra.service.pages import Pages, PageServer
from infra.service.tasks import run_in_thread, run_together
from infra.service.watchdog import Watchdog
from schemas.people import PersonHasher
from web.consent.readers import ConsentOutcomeReader, ConsentProfileReader
from web.consent.signed_heads import HeadKeys
from web.profiles.follower import ProfileFollower
from web.profiles.outbox_publisher import OutboxPublisher
from web.profiles.replay import ReplayRules
from web.profiles.visitors import VisitorReader
from web.publication.backlog import BacklogGauge
from web.publication.monitoring import PublicationHealth, PublicationMetrics
from web.publication.reader_thread import MakeReader, read_in_thread
from web.settings import ProfileSettings


class PublicationProcess:
    """The parts of a worker. `ask_partitions` blocks; it returns how many the topics have, or raises KafkaAway."""

    def __init__(
        self, settings: ProfileSettings, ask_partitions: Callable[[], int], identity: WorkerIdentity | None
    ) -> None:
        self._settings = settings
        self._ask_partitions = ask_partitions
        self._stores = Stores.of(settings)
        self._kafka = Outage("kafka")
        self._watchdog = Watchdog()
        self._databases: list[AsyncDatabase] = []
        outages = self._kafka, self._stores.ledger.outage
        slot, restarts = (identity.slot, identity.restarts) if identity else (0, 0)
        self._health = PublicationHealth(slot, restarts, outages, self._watchdog)
        self._gauge = BacklogGauge(self._database())
        self._metrics = PublicationMetrics(self._health, outages, lambda: self._gauge.backlog)
        # static membership: a worker that comes back within the session keeps its partitions. No other one on this
        # machine has its port, also of another installation.
        self._instance = None if identity is None else f"{socket.gethostname()}-{identity.port}"
        pages = Pages(self._health, self._metrics.page, lambda: self._gauge.backlog.described())
        self._pages = None if identity is None else PageServer(pages, identity.port)
        self._log = structlog.get_logger("web.publication.process")

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set or a part ends.

        Raises OSError if the port is taken, MigrationError, the first error of a part, and StillRunning if a part does
        not end.
        """
        if self._pages is not None:
            await self._pages.start()
        stopping, starting = asyncio.create_task(stop.wait()), asyncio.create_task(self._partitions())
        watched = Event()
        run_in_thread("watchdog", lambda: self._watchdog.run(watched))
        try:
            await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await self._publish(starting.result(), stop)
        finally:
            watched.set()
            stopping.cancel()
            starting.cancel()
            for database in self._databases:
                await database.close()
            if self._pages is not None:
                await self._pages.stop()

    async def _publish(self, partitions: int, stop: asyncio.Event) -> None:
        self._health.enters(Phase.READY)
        self._log.info("profiles_started", partitions=partitions)
        try:
            await run_together({"stop": self._until(stop), **self._parts(partitions)})
        finally:
            self._log.info("profiles_stopped")

    def _parts(self, partitions: int) -> Mapping[str, Coroutine[Any, Any, None]]:
        beat, ledger = self._watchdog.beat, self._stores.ledger
        publisher = OutboxPublisher(
            self._settings.connection, self._database(), partitions, self._kafka, beat, self._metrics.published
        )
        readers = self._readers(partitions)
        return {
            "profile-outbox": publisher.run(),
            "backlog-gauge": self._gauge.run(),
            **{name: read_in_thread(name, ledger, make, beat) for name, make in readers.items()},
        }

    def _readers(self, partitions: int) -> Mapping[str, MakeReader]:
        """What makes the readers, by the names of their threads."""
        settings = self._settings
        replay = ReplayRules(timedelta(minutes=settings.replay_minutes), settings.replay_events)
        keys = HeadKeys([key.get_secret_value() for key in settings.consent_keys])
        people = PersonHasher(settings.erasure_key.get_secret_value().encode())
        named: dict[str, Any] = {"instance": self._instance, "observer": self._metrics}

        def reader(kind: Callable[..., BatchReader[Any]], *needed: Any, **more: Any) -> MakeReader:
            return lambda database, halt: kind(settings.connection, database, halt, *needed, **named, **more)

        return {
            "profile-follower": reader(ProfileFollower, partitions, hasher=people),
            "visitor-reader": reader(VisitorReader, replay, hasher=people),
            "consent-profiles": reader(ConsentProfileReader, partitions, keys=keys, hasher=people),
            "consent-outcomes": reader(ConsentOutcomeReader, partitions, hasher=people),
        }

    async def _until(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._health.enters(Phase.STOPPING)

    async def _partitions(self) -> int:
        """How many partitions the topics have, once PostgreSQL and Kafka answer."""
        with require_migrated():
            await self._gauge.look()
        return await partition_count_once_there(self._ask_partitions, self._kafka, self._watchdog.beat)

    def _database(self) -> AsyncDatabase:
        """A connection to the ledger for one task."""
        ledger = self._stores.ledger
        database = AsyncDatabase(
            ledger.url, ledger.outage, self._watchdog.beat, idle_in_transaction_s=IDLE_IN_TRANSACTION_S
        )
        self._databases.append(database)
        return database
