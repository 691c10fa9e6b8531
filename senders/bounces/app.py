"""The bounce listener from start to exit. Several such processes may share one port."""

import asyncio
from functools import partial

import structlog

from infra.postgres.database import AsyncDatabase
from infra.postgres.stores import Stores
from infra.service.ending import Deadline, run_until_signalled
from infra.service.health import Phase, WorkerIdentity
from infra.service.outages import Outage
from infra.service.pages import Pages, PageServer
from senders.bounces.classifier import load_classifier
from senders.bounces.inbox import ANSWER_S, Inbox
from senders.bounces.listener import BounceListener
from senders.bounces.monitoring import BounceMetrics, ListenerHealth
from senders.bounces.sent_commands import SentCommands
from senders.bounces.settings import BounceSettings

END_WITHIN_S = ANSWER_S + 2
FINISH_S = 2.0
"""How long mails that are being read are awaited at the end. One without its reply comes again."""


def main(settings: BounceSettings, identity: WorkerIdentity | None = None) -> None:
    """Listen until SIGTERM or SIGINT; then the process ends. Never returns. Raises UserError if it cannot start."""
    listen = partial(run, settings, identity=identity)
    run_until_signalled(listen, "senders.bounces.app", Deadline(END_WITHIN_S), identity)


def check_start(settings: BounceSettings) -> None:
    """Raises UserError if no listener can start with these settings."""
    load_classifier(settings.bounce_rules)


async def run(settings: BounceSettings, stop: asyncio.Event, identity: WorkerIdentity | None = None) -> None:
    """Listen until `stop` is set. Raises UserError, or OSError if the port is taken."""
    check_start(settings)
    log = structlog.get_logger("senders.bounces.app")
    kafka, stores = Outage("kafka"), Stores.of(settings)
    outages = (kafka, stores.ledger.outage)  # the other database is asked for old commands only
    slot, restarts = (identity.slot, identity.restarts) if identity else (0, 0)
    health = ListenerHealth(slot, restarts, outages)
    metrics = BounceMetrics(lambda: health.ready, outages)
    databases = ledger, timescale = [AsyncDatabase(store.url, store.outage) for store in stores]
    classifier = load_classifier(settings.bounce_rules)
    commands = SentCommands(ledger, timescale)
    inbox = Inbox(settings.connection, commands, kafka, settings.return_paths, classifier, metrics.counted)
    listener = BounceListener(settings, inbox.receive, metrics.refused)
    details = {"rules": classifier.hash}
    pages = None if identity is None else PageServer(Pages(health, metrics.page, lambda: dict(details)), identity.port)
    if pages is not None:
        await pages.start()
    await listener.start()
    health.enters(Phase.READY)
    log.info("bounces_started", port=listener.port, protocol=settings.bounces_protocol, rules=classifier.hash)
    try:
        await stop.wait()
    finally:
        health.enters(Phase.STOPPING)
        await listener.stop()
        await inbox.finish(FINISH_S)
        for database in databases:
            await database.close()
        if pages is not None:
            await pages.stop()
        log.info("bounces_stopped")
