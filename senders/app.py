"""Delivery from start to exit: what must be there before it starts, signals, and exit statuses.

Several such processes share the work by partition. `run` ends when `stop` is set, or with the first error that waiting
does not fix. In both cases mails in flight get their answer first, within `stop_within_s`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from confluent_kafka import KafkaException

from infra.kafka.client import KafkaAway
from infra.kafka.connection import AccessDenied, Connection, connect_admin
from infra.kafka.partition_counts import TopicsMissing, shared_partition_count
from infra.kafka.retry import error_of
from infra.service.ending import CRASHED, OVERDUE, Deadline, block_signals, leave, stop_when_signalled
from infra.service.health import WorkerIdentity
from infra.service.logs import configure_logging
from infra.service.tasks import StillRunning, run_in_thread
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
KAFKA_TIMEOUT_S = 10.0

_REFUSALS = (
    KafkaAway,
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
    block_signals()
    configure_logging(**({} if identity is None else {"slot": identity.slot}))
    deadline = Deadline(settings.stop_within_s + END_WITHIN_S)
    try:
        asyncio.run(_until_signalled(settings, deadline, identity))
    finally:
        deadline.arm()  # a UserError goes on to the command line, and that must end in time too


async def _until_signalled(settings: SenderSettings, deadline: Deadline, identity: WorkerIdentity | None) -> None:
    """Ends the process from within the loop, because `asyncio.run` waits at its end without a bound."""
    stop = asyncio.Event()
    stop_when_signalled(stop, deadline)
    try:
        await run(settings, stop, deadline.arm, identity)
    except _REFUSALS:
        raise
    except Exception as error:  # noqa: BLE001  # it is logged, and ends the process
        structlog.get_logger("senders.app").critical("crashed", exc_info=error)
        leave(OVERDUE if isinstance(error, StillRunning) and error.__cause__ is None else CRASHED)
    leave(0)


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
    partitions, signer, routes, reload = await _prepare(settings)
    return DeliveryProcess(settings, partitions, signer, routes, reload, ending, identity)


async def _prepare(settings: SenderSettings) -> tuple[int, dkim.Signer, LaneRoutes, ShapingReload | None]:
    signer = dkim.load_signer(settings.dkim_domain, settings.dkim_selector, settings.dkim_key, settings.dkim_keys)
    load_classifier(settings.bounce_rules)
    reload = None if settings.shaping is None else ShapingReload(settings.shaping)
    routes = _routes(settings, reload)
    with suppress(Unreachable):  # delivery waits for a name that does not resolve yet, as for a server that is away
        await routes.check()
    partitions = await run_in_thread("ask-topics", lambda: user_partitions(settings.connection))
    return partitions, signer, routes, reload


def _routes(settings: SenderSettings, reload: ShapingReload | None) -> LaneRoutes:
    if reload is None and settings.route == "relay":
        return RelayRoutes(settings)
    return ShapedRoutes(settings, reload.file if reload is not None else built_in())


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
