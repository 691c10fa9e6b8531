"""The Faust application, from a factory: the trigger core as steps of the runtime, its state in one table.

Exactly once: state, decisions, commands, dead letters, journal and offsets of a checkpoint are one transaction.
"""

import asyncio
from dataclasses import asdict

import faust
import structlog
from mode import Service

from infra.kafka.connection import Connection
from infra.service.health import WorkerIdentity
from infra.service.pages import Pages, PageServer
from schemas.topics import BROADCASTS
from streams.decisions.broadcasts import SLICE
from streams.decisions.journal import CheckpointJournal
from streams.decisions.partitioning import INPUTS, OUTPUTS, user_partitions
from streams.decisions.processor import DecisionProcessor
from streams.decisions.rulefeed import PublishedRules, RuleFeed
from streams.faust.background import BackgroundLoop
from streams.faust.runtime import Runtime
from streams.faust.settings import RuntimeSettings
from streams.monitoring.gauges import Gauges
from streams.monitoring.health import StreamHealth
from streams.monitoring.metrics import Metrics
from streams.runtime.ending import end_process
from streams.settings import StreamSettings

log = structlog.get_logger()


class RuleFollower(Service):
    """Hands each change of rules or switches to the event loop, from the rule feed's thread."""

    def __init__(self, connection: Connection, processor: DecisionProcessor) -> None:
        super().__init__()
        self._connection = connection
        self._processor = processor

    async def on_start(self) -> None:
        """Starts the feed."""
        loop = asyncio.get_running_loop()

        def publish(published: PublishedRules) -> None:
            loop.call_soon_threadsafe(self._adopt, published)

        self._feed = RuleFeed(self._connection, publish)
        self._feed.start()

    def _adopt(self, published: PublishedRules) -> None:
        try:
            self._processor.adopt(published)
        except Exception:
            log.exception("rules_not_adopted", manifest=published.manifest, control=published.control)
            end_process("rules that loaded could not be adopted; going on would decide by the ones before")

    async def on_stop(self) -> None:
        """Ends the feed."""
        await asyncio.get_running_loop().run_in_executor(None, self._feed.stop)


class PageService(Service):
    """Serves the pages beside the worker, from before its first recovery."""

    def __init__(self, server: PageServer) -> None:
        super().__init__()
        self._server = server

    async def on_start(self) -> None:
        """Listens."""
        await self._server.start()

    async def on_stop(self) -> None:
        """Stops listening."""
        await self._server.stop()


def create_app(settings: StreamSettings, identity: WorkerIdentity) -> faust.App:
    """The application, ready for `faust.Worker`. Asks the broker for the partition count; raises TopicsMissing, and
    AccessDenied if the broker rejects the client.

    Each of the workers that run at once needs its own slot.
    """
    connection = settings.connection
    runtime = Runtime(
        RuntimeSettings(
            name=settings.streams_group,
            slot=str(identity.slot),
            connection=connection,
            inputs=tuple(topic.name for topic in INPUTS),
            weights={BROADCASTS.name: SLICE},
            partitions=user_partitions(connection),
            checkpoint_s=settings.commit_interval_s,
            other_topics=tuple(topic.name for topic in OUTPUTS),  # rules and control: the feed itself never goes back
            snapshot_s=settings.snapshot_interval_s or None,
            faust={
                "datadir": str(settings.data_dir),
                "topic_replication_factor": settings.replication_factor,
                "web_enabled": False,  # its tables would show users' state; `PageService` serves ours
            },
        ),
        CheckpointJournal(),
    )
    processor = DecisionProcessor(runtime, settings.default_zone, round(settings.profile_wait_s * 1000))
    runtime.process_with(processor)
    runtime.add_service(RuleFollower(connection, processor))
    app: faust.App = runtime.app
    pages = _watch(runtime, processor, identity)
    runtime.add_service(PageService(PageServer(pages, identity.port)))
    return app


def _watch(runtime: Runtime, processor: DecisionProcessor, identity: WorkerIdentity) -> Pages:
    health = StreamHealth(
        identity.slot,
        identity.restarts,
        runtime.checkpointer.since_last_s,
        "rules, which `ebbtide apply` publishes",
    )
    gauges = Gauges(runtime, processor.pending)
    metrics = Metrics(
        failures=lambda: runtime.committer.failures,
        ready=lambda: health.ready,
        gauges=lambda: gauges.now,
        restarts=identity.restarts,
    )
    runtime.observe(health, gauges, metrics)
    runtime.add_service(BackgroundLoop(gauges.run))
    return Pages(health, metrics.page, lambda: {"partitions": [asdict(gauge) for gauge in gauges.now]})
