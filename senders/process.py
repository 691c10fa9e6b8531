"""One delivery process: intake, worker, outbox relay, recipients view, recorder and templates, put together."""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any

import structlog

from infra.kafka.batch_reader import BatchReader
from infra.postgres.database import AsyncDatabase, Database
from infra.postgres.stores import Store, Stores
from infra.service.health import WorkerIdentity
from infra.service.outages import Outage
from infra.service.tasks import StillRunning, end_tasks, run_in_thread
from infra.service.watchdog import Watchdog, where
from schemas.people import PersonHasher
from senders.channels.lane_routes import LaneRoutes
from senders.content import dkim
from senders.content.brand_book import BrandBook
from senders.content.mail_builder import MailBuilder
from senders.content.templates import TemplateCache
from senders.control_reader import ControlReader
from senders.delivery.webhooks.webhooks import WebhookParts
from senders.delivery.worker import DeliveryWorker, LaneDatabases, WorkerParts
from senders.monitoring.metrics import SenderMetrics
from senders.monitoring.monitor import Monitor
from senders.policy.endpoints import EndpointBook
from senders.policy.recipients import AddressHasher
from senders.policy.recipients_feed import RecipientsFeed
from senders.policy.send_check import SendCheck
from senders.policy.switches import DeliverySwitches
from senders.queue.intake import CommandIntake
from senders.queue.link_sweep import LinkSweep
from senders.queue.outbox_relay import OutboxRelay
from senders.queue.removal_sweep import RemovalSweep
from senders.queue.writer import LedgerWriter
from senders.recording.recorder import Recorder
from senders.settings import SenderSettings
from senders.shaping.reload import ShapingReload
from senders.template_reader import TemplateReader

READERS_STOP_WITHIN_S = 5.0
END_WITHIN_S = READERS_STOP_WITHIN_S + 1.5
"""How long after the mails in flight everything else may take to end; with their 3 s it is less than 10 s."""


class DeliveryProcess:
    """The parts of one process and their life."""

    def __init__(
        self,
        settings: SenderSettings,
        partitions: int,
        signer: dkim.Signer,
        routes: LaneRoutes,
        reload: ShapingReload | None,
        ending: Callable[[], None],
        identity: WorkerIdentity | None,
    ) -> None:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.routes = routes
        self._settings = settings
        self._ending = ending
        self._watchdog = Watchdog()
        self._databases: list[Database] = []
        self._async_databases: list[AsyncDatabase] = []
        self._loop = asyncio.get_running_loop()
        self._halt = Event()
        self._stores = Stores.of(settings)
        relay = Outage("relay")
        outages = (*self._stores.outages, relay, Outage("kafka"))
        metrics = SenderMetrics(identity.restarts if identity else 0)
        people = PersonHasher(settings.erasure_key.get_secret_value().encode())
        hasher = AddressHasher(settings.suppression_key.get_secret_value().encode(), people)
        self._switches = DeliverySwitches()
        templates, brands = TemplateCache(), BrandBook()
        secrets = {name: secret.get_secret_value() for name, secret in settings.webhook_secrets.items()}
        self._endpoints = EndpointBook(secrets, lambda: self._call(self._worker.endpoints_changed))
        parts = self._worker_parts(signer, templates, brands, hasher, reload, relay, metrics)
        self._worker = DeliveryWorker(settings, parts)
        self._outbox_relay = OutboxRelay(
            settings.connection,
            self._async_database(),
            lambda: self._worker.held,
            self._worker.wake,
            self._watchdog,
        )
        sweeps = self._async_database()
        self._removal_sweep = RemovalSweep(
            sweeps, lambda: self._worker.held, self._outbox_relay.wake, self._watchdog, metrics
        )
        kept = timedelta(days=settings.link_days)
        self._link_sweep = LinkSweep(sweeps, lambda: self._worker.held, kept, self._watchdog)
        batch_readers = self._batch_readers(partitions, hasher, metrics)
        self._readers = {name: reader.run for name, reader in batch_readers.items()} | self._log_readers(
            templates, brands
        )
        positions = {reader.group: reader.positions for reader in batch_readers.values()}
        self._monitor = Monitor(
            self._worker,
            metrics,
            outages,
            self._watchdog,
            self._async_database(),
            settings.connection,
            positions,
            identity,
        )

    def _worker_parts(
        self,
        signer: dkim.Signer,
        templates: TemplateCache,
        brands: BrandBook,
        hasher: AddressHasher,
        reload: ShapingReload | None,
        relay: Outage,
        metrics: SenderMetrics,
    ) -> WorkerParts:
        settings, watchdog = self._settings, self._watchdog
        check = SendCheck(hasher, timedelta(seconds=settings.consent_stale_s), self._switches)
        return WorkerParts(
            database=self._async_database(),
            lease_database=self._async_database(),
            writer=LedgerWriter(self._async_database(planned_once=True), self.owner, check, watchdog, metrics),
            lane_databases=LaneDatabases(self._async_database(), self._async_database(), self._async_database()),
            trace_database=self._async_database(),
            routes=self.routes,
            relay_outage=relay,
            reload=reload,
            templates=templates,
            brands=brands,
            mail_builder=MailBuilder(
                signer,
                settings.sender,
                settings.link_pages,
                settings.tracking,
                settings.unsubscribe_url,
                settings.feedback_sender,
            ),
            switches=self._switches,
            webhooks=WebhookParts(self._endpoints, self._async_database(), self._async_database()),
            hasher=hasher,
            owner=self.owner,
            on_answer=lambda: self._outbox_relay.wake(),
            watchdog=watchdog,
            observer=metrics,
            mail_observer=metrics,
        )

    def _log_readers(self, templates: TemplateCache, brands: BrandBook) -> dict[str, Callable[[], None]]:
        """What reads whole topics into memory, by the names of the threads."""
        connection, halt, beat = self._settings.connection, self._halt, self._watchdog.beat
        control = ControlReader(connection, self._switches, halt, lambda: self._call(self._worker.wake), beat)
        return {
            "template-reader": TemplateReader(
                connection, templates, halt, beat=beat, brands=brands, endpoints=self._endpoints
            ).run,
            "control-reader": control.run,
        }

    def _batch_readers(
        self, partitions: int, hasher: AddressHasher, metrics: SenderMetrics
    ) -> dict[str, BatchReader[Any]]:
        """The readers of topics, by the names of their threads."""
        settings, halt, (ledger, timescale) = self._settings, self._halt, self._stores
        return {
            "intake": CommandIntake(
                settings,
                self._database(ledger),
                halt,
                partitions,
                take_over=lambda taken: self._call(self._take_over, taken),
                give_up=lambda lost: self._call(self._give_up, lost),
                admitted=lambda classes: self._call(self._worker.admitted, classes),
                observer=metrics,
                ledger_observer=metrics,
            ),
            "recipients-feed": RecipientsFeed(settings, self._database(ledger), halt, partitions, hasher, metrics),
            "recorder": Recorder(
                settings.connection,
                self._database(timescale),
                self._database(ledger),
                halt,
                settings.session_timeout_ms,
                settings.sender_instance,
                metrics,
                ledger_observer=metrics,
                hasher=hasher.people,
            ),
        }

    def _database(self, store: Store) -> Database:
        database = Database(store.url, store.outage, self._halt, self._watchdog.beat)
        self._databases.append(database)
        return database

    def _async_database(self, *, planned_once: bool = False) -> AsyncDatabase:
        """A connection to the ledger for one task."""
        ledger = self._stores.ledger
        database = AsyncDatabase(ledger.url, ledger.outage, self._watchdog.beat, planned_once=planned_once)
        self._async_databases.append(database)
        return database

    def _take_over(self, partitions: list[int]) -> None:
        self._worker.take_over(partitions)
        self._monitor.health.assigned()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Calls a function in the event loop, from a reader's thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def _give_up(self, partitions: list[int]) -> None:
        self._worker.give_up(partitions)
        if not (self._worker.held or self._worker.arriving):
            self._monitor.health.revoked()

    def _reading(self, reader: Callable[[], None]) -> Callable[[], None]:
        """The reader, whose error begins the end even if the event loop is stalled."""

        def read() -> None:
            try:
                reader()
            except BaseException:
                self._ending()
                raise

        return read

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set or a part ends. Raises the first error, and StillRunning if a part does not end."""
        await self._monitor.start()
        readers = {name: run_in_thread(name, self._reading(reader)) for name, reader in self._readers.items()}
        coroutines = {
            "worker": self._worker.run(),
            "outbox-relay": self._outbox_relay.run(),
            "removal-sweep": self._removal_sweep.run(),
            "link-sweep": self._link_sweep.run(),
            "ledger-gauges": self._monitor.measure_ledger(),
        }
        tasks = {name: asyncio.create_task(coroutine, name=name) for name, coroutine in coroutines.items()}
        stopping = asyncio.create_task(stop.wait())
        ended = Event()
        run_in_thread("watchdog", lambda: self._watchdog.run(ended))
        broker_gauges = run_in_thread("broker-gauges", lambda: self._monitor.measure_broker(self._halt))
        first: set[asyncio.Future[Any]] = set()
        try:
            everything: set[asyncio.Future[Any]] = {stopping, broker_gauges, *readers.values(), *tasks.values()}
            first, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ending()
            self._monitor.health.stops()
            stopping.cancel()
            if not tasks["worker"].done():
                await self._worker.stop()
            self._halt.set()
            late, _ = await asyncio.gather(self._end_readers(readers), end_tasks(tasks.values()))
            late |= {name for name, task in tasks.items() if not task.done()}
            for database in self._async_databases:
                await database.close()
            await self._monitor.stop()
            ended.set()
        _raise([*first, *readers.values(), *tasks.values()], late)

    async def _end_readers(self, readers: Mapping[str, "asyncio.Future[None]"]) -> set[str]:
        """Wait until the halted readers have ended. Returns the names of those that have not."""
        await asyncio.wait(readers.values(), timeout=READERS_STOP_WITHIN_S / 2)
        for database in self._databases:
            database.interrupt()
        await asyncio.wait(readers.values(), timeout=READERS_STOP_WITHIN_S / 2)
        late = {name for name, reader in readers.items() if not reader.done()}
        for thread in enumerate_threads():
            if thread.name in late:
                structlog.get_logger("senders.process").error("stop_overdue", part=thread.name, where=where(thread))
        return late


def _raise(parts: Sequence["asyncio.Future[Any]"], late: Collection[str]) -> None:
    """Raise the first error of these parts; if some are late, StillRunning from it."""
    ended = [part for part in parts if part.done() and not part.cancelled()]
    errors = [error for part in ended if (error := part.exception()) is not None]
    if late:
        raise StillRunning(f"did not end in time: {', '.join(sorted(late))}") from next(iter(errors), None)
    if errors:
        raise errors[0]
