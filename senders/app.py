"""Delivery from start to exit: what must be there before it starts, signals, and exit statuses.

Several such processes share the work by partition. `run` waits for Kafka, ends when `stop` is set, or with the first
error that waiting does not fix. In both cases mails in flight get their answer first, within `stop_within_s`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from infra.kafka.connection import AccessDenied, Connection
from infra.kafka.partition_counts import (
    CONNECT_S,
    TopicsMissing,
    ask_partition_count,
    partition_count_once_there,
)
from infra.service.ending import Deadline, run_until_signalled
from infra.service.health import WorkerIdentity
from infra.service.outages import Outage
from schemas.topics import COMMANDS, CONTROL, DEAD_LETTERS, DECISIONS, OUTCOMES, PROFILES, RULES
from senders.bounces.classifier import load_classifier
from senders.bounces.rule_files import InvalidBounceRules
from senders.channels.channel import RealMailRefused, Unreachable
from senders.channels.lane_routes import LaneRoutes, RelayRoutes, ShapedRoutes
from senders.content import dkim
from senders.process import END_WITHIN_S, DeliveryProcess
from senders.settings import SenderSettings
from senders.shaping.file import built_in
from senders.shaping.findings import InvalidShaping, ShapingUnreadable
from senders.shaping.reload import ShapingReload

NEEDED = (COMMANDS, PROFILES, OUTCOMES, DECISIONS, RULES, CONTROL, DEAD_LETTERS)

ASK_S = 3.0
"""How long Kafka may take to answer a worker that starts, before its log says that it is away."""

_REFUSALS = (
    AccessDenied,
    TopicsMissing,
    RealMailRefused,
    dkim.KeyProblem,
    InvalidBounceRules,
    InvalidShaping,
    ShapingUnreadable,
)
"""Errors that a person can act on. Any other one, also another UserError, is a defect once delivery runs."""


def main(settings: SenderSettings, identity: WorkerIdentity | None = None) -> None:
    """Run delivery until SIGTERM or SIGINT; then the process ends, whatever its threads wait for.

    Never returns. Raises UserError if it cannot start. A worker with an identity serves its pages.
    """
    deadline = Deadline(settings.stop_within_s + END_WITHIN_S)
    deliver = partial(run, settings, ending=deadline.arm, identity=identity)
    run_until_signalled(deliver, "senders.app", deadline, identity, refusals=_REFUSALS)


async def run(
    settings: SenderSettings,
    stop: asyncio.Event,
    ending: Callable[[], None] = lambda: None,
    identity: WorkerIdentity | None = None,
) -> None:
    """Run delivery until `stop` is set. Calls `ending`, in any thread, as soon as delivery begins to end.

    Raises UserError if it cannot start, the error of a part that fails, and StillRunning if a part does not end.
    """
    log = structlog.get_logger("senders.app")
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(_start(settings, ending, identity))
    try:
        await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            log.info("stopped_while_starting")
            return
        process = starting.result()
        log.info("senders_started", owner=process.owner, relay=process.routes.server)
        try:
            await process.run(stop)
        finally:
            log.info("senders_stopped", owner=process.owner)
    finally:
        stopping.cancel()
        starting.cancel()


async def _start(
    settings: SenderSettings, ending: Callable[[], None], identity: WorkerIdentity | None
) -> DeliveryProcess:
    signer, routes, reload = await _prepare(settings)
    partitions = await partition_count_once_there(
        lambda: user_partitions(settings.connection, ASK_S), Outage("kafka"), lambda: None
    )
    return DeliveryProcess(settings, partitions, signer, routes, reload, ending, identity)


async def _prepare(settings: SenderSettings) -> tuple[dkim.Signer, LaneRoutes, ShapingReload | None]:
    signer = dkim.load_signer(settings.dkim_domain, settings.dkim_selector, settings.dkim_key, settings.dkim_keys)
    load_classifier(settings.bounce_rules)
    reload = None if settings.shaping is None else ShapingReload(settings.shaping)
    routes = _routes(settings, reload)
    with suppress(Unreachable):  # delivery waits for a name that does not resolve yet, as for a server that is away
        await routes.check()
    return signer, routes, reload


def _routes(settings: SenderSettings, reload: ShapingReload | None) -> LaneRoutes:
    if reload is None and settings.route == "relay":
        return RelayRoutes(settings)
    return ShapedRoutes(settings, reload.file if reload is not None else built_in())


def check_start(settings: SenderSettings) -> int:
    """Raises UserError if no worker can start with these settings; returns how many partitions there are."""
    asyncio.run(_prepare(settings))
    return user_partitions(settings.connection)


def user_partitions(connection: Connection, timeout_s: float = CONNECT_S) -> int:
    """How many partitions the user-keyed topics have.

    Raises KafkaAway if Kafka does not answer, TopicsMissing if topics are missing or disagree, and AccessDenied.
    """
    user_keyed = [topic.name for topic in NEEDED if topic.layout == "user_keyed"]
    others = [topic.name for topic in NEEDED if topic.layout != "user_keyed"]
    return ask_partition_count(connection, user_keyed, others, timeout_s)
