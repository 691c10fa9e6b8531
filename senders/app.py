"""Delivery as one process: intake, worker, announcer, recipients view, recorder and templates, put together.

Several such processes share the work by partition. `run` ends when told to, or with the first error that no waiting
mends; in both cases what is on its way gets its answer first, within `stop_within_s`.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import Any

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, OUTCOMES, PROFILES, RULES
from senders import dkim
from senders.announcer import Announcer
from senders.database import AsyncDatabase, Database
from senders.intake import Intake
from senders.mailing import Mailing
from senders.outages import Outage
from senders.recipients import AddressHasher
from senders.recipients_feed import RecipientsFeed
from senders.recorder import Recorder
from senders.settings import SenderSettings
from senders.smtp import Relay, Unreachable
from senders.templates import Shelf, TemplateReader
from senders.worker import Parts, Worker
from senders.writer import LedgerWriter

NEEDED = (COMMANDS, PROFILES, OUTCOMES, DECISIONS, RULES, DEAD_LETTERS)
KAFKA_TIMEOUT_S = 10.0
READERS_STOP_WITHIN_S = 5.0


class StartError(RuntimeError):
    """Delivery cannot start; the message names what is missing and the next step."""


def configure_logging() -> None:
    """One JSON object a line on stderr."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def main(settings: SenderSettings) -> None:
    """Run delivery until SIGTERM or SIGINT. Raises StartError, RealMailRefused or KeyProblem where it cannot start."""

    async def until_signalled() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        await run(settings, stop)

    configure_logging()
    asyncio.run(until_signalled())


async def run(settings: SenderSettings, stop: asyncio.Event) -> None:
    """Run delivery until `stop` is set. Raises StartError, RealMailRefused or KeyProblem where it cannot start."""
    log = structlog.get_logger("senders.app")
    signer = dkim.Signer(settings.dkim_domain, settings.dkim_selector, dkim.load_key(settings.dkim_key))
    relay = Relay.of(settings)
    with suppress(Unreachable):  # a name that does not resolve yet is waited for, like a server that is away
        await relay.addresses()
    partitions = await asyncio.to_thread(user_partitions, settings.kafka)
    process = _Process(settings, partitions, signer, relay)
    log.info("senders_started", owner=process.owner, partitions=partitions, relay=relay.place)
    try:
        await process.run(stop)
    finally:
        log.info("senders_stopped", owner=process.owner)


def user_partitions(kafka: str, timeout_s: float = KAFKA_TIMEOUT_S) -> int:
    """How many partitions the user-keyed topics have; raises StartError where topics are missing or disagree."""
    try:
        found = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=timeout_s).topics
    except KafkaException as failure:
        error = failure.args[0]
        raise StartError(f"Kafka at {kafka} does not answer ({error.name()}); is it up (`make status`)?") from None
    missing = [topic.name for topic in NEEDED if topic.name not in found]
    if missing:
        raise StartError(f"Kafka at {kafka} has no topic {', '.join(missing)}; `make up` creates them")
    counts = {topic.name: len(found[topic.name].partitions) for topic in NEEDED if topic.layout == "user_keyed"}
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise StartError(f"user-keyed topics must have one partition count, but have: {told}; recreate the odd ones")
    return counts[COMMANDS.name]


class _Process:
    """The parts of one process and their life."""

    def __init__(self, settings: SenderSettings, partitions: int, signer: dkim.Signer, relay: Relay) -> None:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._halt = Event()
        self._timescale = Outage("timescale")
        hasher = AddressHasher(settings.suppression_key.get_secret_value().encode())
        shelf = Shelf()
        self._async_databases = [AsyncDatabase(settings.database_url, self._timescale) for _ in range(3)]
        take, write, announce = self._async_databases
        self._worker = Worker(
            settings,
            Parts(
                take_database=take,
                writer=LedgerWriter(write, self.owner),
                relay=relay,
                relay_outage=Outage("relay"),
                shelf=shelf,
                mailing=Mailing(signer, settings.sender, settings.unsubscribe_url),
                hasher=hasher,
                owner=self.owner,
            ),
        )
        self._announcer = Announcer(settings.kafka, announce, lambda: self._worker.held, self._worker.wake)
        self._worker.announcer = self._announcer
        intake = Intake(
            settings,
            self._database(),
            self._halt,
            partitions,
            take_over=lambda taken: self._call(self._worker.take_over, taken),
            give_up=self._give_up,
            admitted=lambda: self._call(self._worker.wake),
        )
        self._readers: list[Callable[[], None]] = [
            intake.run,
            RecipientsFeed(settings, self._database(), self._halt, partitions, hasher).run,
            Recorder(
                settings.kafka, self._database(), self._halt, settings.session_timeout_ms, settings.sender_instance
            ).run,
            TemplateReader(settings.kafka, shelf, self._halt).run,
        ]

    def _database(self) -> Database:
        return Database(self._settings.database_url, self._timescale, self._halt)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """From a reader's thread to the loop's."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def _give_up(self, partitions: list[int]) -> None:
        """From intake's thread: wait until the worker has let the partitions go."""
        future = asyncio.run_coroutine_threadsafe(self._worker.give_up(frozenset(partitions)), self._loop)
        future.result(self._settings.stop_within_s + 1)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until told to stop, or until a part fails, whose error is then raised."""
        pool = ThreadPoolExecutor(len(self._readers), thread_name_prefix="reader")
        readers = [self._loop.run_in_executor(pool, reader) for reader in self._readers]
        tasks = [asyncio.create_task(part) for part in (self._worker.run(), self._announcer.run())]
        stopping = asyncio.create_task(stop.wait())
        everything: set[asyncio.Future[Any]] = {stopping, *readers, *tasks}
        try:
            await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            await self._worker.stop()
        finally:
            self._halt.set()
            await asyncio.wait(readers, timeout=READERS_STOP_WITHIN_S)
            for task in (stopping, *tasks):
                task.cancel()
            ends = await asyncio.gather(*tasks, *readers, return_exceptions=True)
            pool.shutdown(wait=False)
            for database in self._async_databases:
                await database.close()
        for end in ends:
            if isinstance(end, Exception):
                raise end
