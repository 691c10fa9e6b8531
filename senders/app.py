"""Delivery as one process: intake, worker, outbox relay, recipients view, recorder and templates, put together.

Several such processes share the work by partition. `run` ends when told to, or with the first error that no waiting
mends; in both cases what is on its way gets its answer first, within `stop_within_s`.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any

import structlog
from confluent_kafka import KafkaException

from infra.kafka.client import KafkaAway
from infra.kafka.connection import AccessDenied, Connection, connect_admin
from infra.kafka.partition_counts import TopicsMissing, shared_partition_count
from infra.kafka.retry import error_of
from infra.postgres.database import AsyncDatabase, Database
from infra.service.ending import CRASHED, OVERDUE, Deadline, block_signals, leave, stop_when_signalled
from infra.service.logs import configure_logging
from infra.service.outages import Outage
from infra.service.pages import Pages, PageServer
from infra.service.tasks import StillRunning, end_tasks, run_in_thread
from infra.service.watchdog import Watchdog, where
from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, OUTCOMES, PROFILES, RULES
from senders.channels.channel import Channel, RealMailRefused, Unreachable
from senders.channels.smtp.channel import SmtpChannel
from senders.content import dkim
from senders.content.mail_builder import MailBuilder
from senders.content.templates import TemplateCache
from senders.delivery.worker import DeliveryWorker, WorkerParts
from senders.monitoring.gauges import BrokerGauges, LedgerGauges
from senders.monitoring.health import DeliveryHealth
from senders.monitoring.metrics import Readings, SenderMetrics
from senders.policy.recipients import AddressHasher
from senders.policy.recipients_feed import RecipientsFeed
from senders.queue.intake import CommandIntake
from senders.queue.outbox_relay import OutboxRelay
from senders.queue.writer import LedgerWriter
from senders.recorder import Recorder
from senders.settings import SenderSettings
from senders.template_reader import TemplateReader

NEEDED = (COMMANDS, PROFILES, OUTCOMES, DECISIONS, RULES, DEAD_LETTERS)
KAFKA_TIMEOUT_S = 10.0
READERS_STOP_WITHIN_S = 5.0
END_WITHIN_S = READERS_STOP_WITHIN_S + 1.5
"""How long after the mails on their way everything else may take to end; with their 3 s it is less than 10 s."""
LOOP_ANSWERS_S = 30.0
"""How long intake's thread waits for an event loop that has no time; a second is common on a loaded machine."""


_REFUSALS = (KafkaAway, AccessDenied, TopicsMissing, RealMailRefused, dkim.KeyProblem)
"""Errors that a person can act on. Any other one, also another UserError, is a defect once delivery runs."""


def main(settings: SenderSettings, slot: int | None = None, restarts: int = 0) -> None:
    """Run delivery until SIGTERM or SIGINT; then the process ends, whatever its threads wait for.

    Never returns. Raises UserError if it cannot start. A worker with a `slot` serves its pages; `restarts` is how often
    its supervisor restarted it.
    """
    block_signals()
    configure_logging(**({} if slot is None else {"slot": slot}))
    deadline = Deadline(settings.stop_within_s + END_WITHIN_S)
    try:
        asyncio.run(_until_signalled(settings, deadline, slot, restarts))
    finally:
        deadline.arm()  # what a person can mend goes to the command line, and its way there must come to an end too


async def _until_signalled(settings: SenderSettings, deadline: Deadline, slot: int | None, restarts: int) -> None:
    """Ends the process from within the loop, for what `asyncio.run` waits for at its end has no bound."""
    stop = asyncio.Event()
    stop_when_signalled(stop, deadline)
    try:
        await run(settings, stop, deadline.arm, slot, restarts)
    except _REFUSALS:
        raise
    except Exception as error:  # noqa: BLE001  # it is said, and ends the process
        structlog.get_logger("senders.app").critical("crashed", exc_info=error)
        leave(OVERDUE if isinstance(error, StillRunning) and error.__cause__ is None else CRASHED)
    leave(0)


async def run(
    settings: SenderSettings,
    stop: asyncio.Event,
    ending: Callable[[], None] = lambda: None,
    slot: int | None = None,
    restarts: int = 0,
) -> None:
    """Run delivery until `stop` is set. `ending` is called, in any thread, as soon as it is to end.

    Raises UserError where it cannot start, the error of a part that fails, and
    StillRunning where a part does not end.
    """
    log = structlog.get_logger("senders.app")
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(_start(settings, ending, slot, restarts))
    try:
        await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            log.info("stopped_while_starting")
            return
        process = starting.result()
        log.info("senders_started", owner=process.owner, relay=process.channel.server)
        try:
            await process.run(stop)
        finally:
            log.info("senders_stopped", owner=process.owner)
    finally:
        stopping.cancel()
        starting.cancel()


async def _start(settings: SenderSettings, ending: Callable[[], None], slot: int | None, restarts: int) -> "_Process":
    partitions, signer, channel = await _prepare(settings)
    return _Process(settings, partitions, signer, channel, ending, slot, restarts)


async def _prepare(settings: SenderSettings) -> tuple[int, dkim.Signer, Channel]:
    signer = dkim.Signer(settings.dkim_domain, settings.dkim_selector, dkim.load_key(settings.dkim_key))
    channel = SmtpChannel.of(settings)
    with suppress(Unreachable):  # a name that does not resolve yet is waited for, like a server that is away
        await channel.check()
    partitions = await run_in_thread("ask-topics", lambda: user_partitions(settings.connection))
    return partitions, signer, channel


def check_start(settings: SenderSettings) -> int:
    """Raises UserError if no worker can start with these settings; returns how many partitions there are."""
    return asyncio.run(_prepare(settings))[0]


def user_partitions(connection: Connection, timeout_s: float = KAFKA_TIMEOUT_S) -> int:
    """How many partitions the user-keyed topics have.

    Raises KafkaAway if Kafka does not answer, TopicsMissing if topics are missing or disagree, and AccessDenied.
    """
    user_keyed = [topic.name for topic in NEEDED if topic.layout == "user_keyed"]
    others = [topic.name for topic in NEEDED if topic.layout != "user_keyed"]
    try:
        return shared_partition_count(connect_admin(connection, timeout_s), user_keyed, others)
    except KafkaException as exception:
        raise KafkaAway(
            f"Kafka does not answer at {connection.servers} ({error_of(exception).name()}); "
            "`make status` tells what runs, `make up` starts it"
        ) from None


class _Process:
    """The parts of one process and their life."""

    def __init__(
        self,
        settings: SenderSettings,
        partitions: int,
        signer: dkim.Signer,
        channel: Channel,
        ending: Callable[[], None],
        slot: int | None,
        restarts: int,
    ) -> None:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.channel = channel
        self._settings = settings
        self._ending = ending
        self._watchdog = Watchdog()
        self._databases: list[Database] = []
        self._loop = asyncio.get_running_loop()
        self._halt = Event()
        self._timescale, relay, kafka = self._outages = (Outage("timescale"), Outage("relay"), Outage("kafka"))
        self._metrics = SenderMetrics(restarts)
        hasher = AddressHasher(settings.suppression_key.get_secret_value().encode())
        templates = TemplateCache()
        self._async_databases = [
            AsyncDatabase(settings.database_url, self._timescale, self._watchdog.beat) for _ in range(4)
        ]
        take, write, publish, count = self._async_databases
        self._worker = DeliveryWorker(
            settings,
            WorkerParts(
                database=take,
                writer=LedgerWriter(write, self.owner, self._watchdog, self._metrics),
                channel=channel,
                channel_outage=relay,
                templates=templates,
                mail_builder=MailBuilder(signer, settings.sender, settings.unsubscribe_url),
                hasher=hasher,
                owner=self.owner,
                on_answer=lambda: self._outbox_relay.wake(),
                watchdog=self._watchdog,
                observer=self._metrics,
            ),
        )
        self._outbox_relay = OutboxRelay(
            settings.connection, publish, lambda: self._worker.held, self._worker.wake, self._watchdog
        )
        intake = CommandIntake(
            settings,
            self._database(),
            self._halt,
            partitions,
            take_over=lambda taken: self._call(self._take_over, taken),
            give_up=self._give_up,
            admitted=lambda: self._call(self._worker.wake),
            observer=self._metrics,
            ledger_observer=self._metrics,
        )
        feed = RecipientsFeed(
            settings, self._database(), self._halt, partitions, hasher, self._metrics, ledger_observer=self._metrics
        )
        recorder = Recorder(
            settings.connection,
            self._database(),
            self._halt,
            settings.session_timeout_ms,
            settings.sender_instance,
            self._metrics,
        )
        self._readers: dict[str, Callable[[], None]] = {
            "intake": intake.run,
            "recipients-feed": feed.run,
            "recorder": recorder.run,
            "template-reader": TemplateReader(settings.connection, templates, self._halt, beat=self._watchdog.beat).run,
        }
        self._ledger_gauges = LedgerGauges(count, lambda: self._worker.held, self._watchdog)
        positions = {reader.group: reader.positions for reader in (intake, feed, recorder)}
        self._broker_gauges = BrokerGauges(settings.connection, positions, kafka)
        self._health = DeliveryHealth(
            slot or 0,
            restarts,
            lambda: self._worker.arriving,
            lambda: self._worker.held,
            self._outages,
            self._watchdog,
        )
        self._metrics.read(
            Readings(
                ready=lambda: self._health.ready,
                in_flight=lambda: self._worker.in_flight,
                outages=self._outages,
                backlog=lambda: self._ledger_gauges.now,
                lags=lambda: self._broker_gauges.lags,
            )
        )
        pages = Pages(self._health, self._metrics.page, self._details)
        self._page_server = None if slot is None else PageServer(pages, settings.senders_web_port + slot)

    def _database(self) -> Database:
        database = Database(self._settings.database_url, self._timescale, self._halt, self._watchdog.beat)
        self._databases.append(database)
        return database

    def _details(self) -> dict[str, Any]:
        """What /status adds."""
        lags = self._broker_gauges.lags
        return {
            "mails_in_flight": self._worker.in_flight,
            "servers_away": [outage.server for outage in self._outages if outage.is_away],
            "partitions": [
                {**asdict(backlog), "lag": lags.get((CommandIntake.group, backlog.partition))}
                for backlog in self._ledger_gauges.now
            ],
        }

    def _take_over(self, partitions: list[int]) -> None:
        self._worker.take_over(partitions)
        self._health.assigned()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """From a reader's thread to the loop's."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def _give_up(self, partitions: list[int]) -> None:
        """From intake's thread: wait until the worker has let the partitions go."""
        self._health.revoked()
        future = asyncio.run_coroutine_threadsafe(self._worker.give_up(frozenset(partitions)), self._loop)
        future.result(self._settings.stop_within_s + LOOP_ANSWERS_S)

    def _reading(self, reader: Callable[[], None]) -> Callable[[], None]:
        """A reader whose error is heard of even where the event loop stands still."""

        def read() -> None:
            try:
                reader()
            except BaseException:
                self._ending()
                raise

        return read

    async def run(self, stop: asyncio.Event) -> None:
        """Run until told to stop, or until a part ends. Raises the first error, StillRunning where a part does not
        end."""
        if self._page_server is not None:
            await self._page_server.start()
        readers = {name: run_in_thread(name, self._reading(reader)) for name, reader in self._readers.items()}
        coroutines = {
            "worker": self._worker.run(),
            "outbox-relay": self._outbox_relay.run(),
            "ledger-gauges": self._ledger_gauges.run(),
        }
        tasks = {name: asyncio.create_task(coroutine, name=name) for name, coroutine in coroutines.items()}
        stopping = asyncio.create_task(stop.wait())
        ended = Event()
        run_in_thread("watchdog", lambda: self._watchdog.run(ended))
        broker_gauges = run_in_thread("broker-gauges", lambda: self._broker_gauges.run(self._halt))
        first: set[asyncio.Future[Any]] = set()
        try:
            everything: set[asyncio.Future[Any]] = {stopping, broker_gauges, *readers.values(), *tasks.values()}
            first, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ending()
            self._health.stops()
            stopping.cancel()
            if not tasks["worker"].done():
                await self._worker.stop()
            self._halt.set()
            late, _ = await asyncio.gather(self._end_readers(readers), end_tasks(tasks.values()))
            late |= {name for name, task in tasks.items() if not task.done()}
            for database in self._async_databases:
                await database.close()
            if self._page_server is not None:
                await self._page_server.stop()
            ended.set()
        _raise([*first, *readers.values(), *tasks.values()], late)

    async def _end_readers(self, readers: Mapping[str, "asyncio.Future[None]"]) -> set[str]:
        """Wait until the readers have ended, which were told to. Returns the names of those that have not."""
        await asyncio.wait(readers.values(), timeout=READERS_STOP_WITHIN_S / 2)
        for database in self._databases:
            database.interrupt()
        await asyncio.wait(readers.values(), timeout=READERS_STOP_WITHIN_S / 2)
        late = {name for name, reader in readers.items() if not reader.done()}
        for thread in enumerate_threads():
            if thread.name in late:
                structlog.get_logger("senders.app").error("stop_overdue", part=thread.name, where=where(thread))
        return late


def _raise(parts: Sequence["asyncio.Future[Any]"], late: Collection[str]) -> None:
    """Raise the first error of these parts, and where some are late, StillRunning from it."""
    ended = [part for part in parts if part.done() and not part.cancelled()]
    errors = [error for part in ended if (error := part.exception()) is not None]
    if late:
        raise StillRunning(f"did not end when told to: {', '.join(sorted(late))}") from next(iter(errors), None)
    if errors:
        raise errors[0]
