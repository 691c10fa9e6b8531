"""The Faust application, from a factory: the trigger core as steps of the runtime, its state in one table.

Exactly once: state, decisions, commands, dead letters, journal and offsets of a checkpoint are one transaction.
"""

import asyncio
import logging
import sys
from collections import defaultdict
from collections.abc import Mapping

import faust
import structlog
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient
from mode import Service

from schemas.topics import EVENTS, OUTCOMES, PROFILES
from schemas.vocabulary import DeadLetterCause
from streams.broker import Connection
from streams.checkpoint import Mark, Output
from streams.evaluate import Decider, Outgoing, Record, Step, dead_letter
from streams.journal import CheckpointJournal
from streams.rulefeed import Published, RuleFeed
from streams.runtime import Runtime, RuntimeSettings
from streams.settings import StreamSettings
from streams.timers import TimerIndex
from triggers.evaluator import Evaluator
from triggers.state import UserState

log = structlog.get_logger()

INPUTS = (PROFILES, OUTCOMES, EVENTS)
"""In the order in which records of one append time are applied: what is known of a user before what they do."""


class TopicsMissing(RuntimeError):
    """The topics are not there, or disagree on their partition count."""


def configure_logging() -> None:
    """One JSON object a line on stderr; of Faust and its clients, warnings only.

    The loggers are set, and not only their handler: Faust's worker leaves the root at DEBUG, so that several records
    would be made for each event and thrown away.
    """
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def user_partitions(connection: Connection) -> int:
    """The partition count that the inputs share; raises TopicsMissing where they do not."""
    topics = AdminClient(connection.client()).list_topics(timeout=30).topics
    counts = {t.name: len(topics[t.name].partitions) if t.name in topics else 0 for t in INPUTS}
    if 0 in counts.values():
        absent = ", ".join(name for name, count in counts.items() if not count)
        raise TopicsMissing(f"no topic {absent}; run `ebbtide topics` first")
    if len(set(counts.values())) > 1:
        raise TopicsMissing(f"inputs disagree on their partition count {counts}; recreate them with one count")
    return counts[EVENTS.name]


class Deciding:
    """The trigger core as steps: the rules in force, and by partition the table of user state and its timers."""

    def __init__(self, runtime: Runtime, default_zone: str) -> None:
        self._emit = runtime.emit
        self._partitions = runtime.settings.partitions
        self._default_zone = default_zone
        self._decider: Decider | None = None
        self._versions: Mapping[str, int] = {}
        self._timers: defaultdict[int, TimerIndex] = defaultdict(TimerIndex)
        self._table = runtime.app.Table("user-state", partitions=self._partitions).local

    def adopt(self, published: Published) -> None:
        """Switches to another set of rules, between two runs; never back to an earlier one."""
        if published.manifest < self._versions.get("manifest", 0):
            log.warning("rules_older", manifest=published.manifest, running=self._versions["manifest"])
            return
        evaluator = Evaluator(published.rules, default_zone=self._default_zone, paused=published.paused)
        self._decider = Decider(evaluator, self._partitions)
        self._versions = {"manifest": published.manifest, "control": 0}
        log.info("rules_current", manifest=published.manifest, triggers=len(published.rules.triggers))

    # The runtime's Steps.

    def ready(self, versions: Mapping[str, int]) -> bool:
        """Whether there are rules, and none older than those last applied."""
        return self._decider is not None and self._versions["manifest"] >= versions.get("manifest", 0)

    def loaded(self, partition: int, mark: Mark) -> None:  # noqa: ARG002 - the runtime keeps the clock
        """Builds the partition's timer index."""
        timers = self._timers[partition] = TimerIndex()
        for key, raw in self._table.raw(partition).items():
            timers.set(key, UserState.decode(key.decode(), raw).next_due())

    def dropped(self) -> None:
        """Forgets the timers."""
        self._timers.clear()

    def versions(self) -> Mapping[str, int]:
        """The rules and control in force."""
        return self._versions

    def apply(self, partition: int, record: Message, now_ms: int) -> None:
        """Decides one record. It changes nothing before the core has answered."""
        key = record.key()
        state = None if key is None else self._table.get(partition, key)
        self._keep(partition, self._current.apply(_read(record), state, now_ms))

    def failed(self, partition: int, record: Message, error: Exception, now_ms: int) -> None:
        """Puts the record among the dead letters."""
        read = _read(record)
        log.error("record_failed", place=f"{read.topic}[{read.partition}]@{read.offset}", exc_info=error)
        letter = dead_letter(read, DeadLetterCause.RULE_ERROR, f"{type(error).__name__}: {error}", now_ms)
        self._send(partition, letter)

    def fire(self, partition: int, now_ms: int) -> int:
        """Fires what is due, user by user in order of time."""
        timers, fired = self._timers[partition], 0
        while (key := timers.pop_due(now_ms)) is not None:
            raw = self._table.get(partition, key)
            if raw is not None:
                self._keep(partition, self._current.fire_due(key.decode(), raw, now_ms))
                fired += 1
        return fired

    @property
    def _current(self) -> Decider:
        assert self._decider is not None
        return self._decider

    def _keep(self, partition: int, step: Step) -> None:
        if step.user_id is not None and step.state is not None:
            key = step.user_id.encode()
            self._table.put(partition, key, step.state)
            self._timers[partition].set(key, step.next_due_ms)
        for outgoing in step.outgoing:
            self._send(partition, outgoing)

    def _send(self, partition: int, outgoing: Outgoing) -> None:
        self._emit(Output(outgoing.topic, outgoing.key, outgoing.value, partition))


def _read(record: Message) -> Record:
    topic, partition, offset = record.topic(), record.partition(), record.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Record(topic, partition, offset, record.key(), record.value())


class FollowRules(Service):
    """Hands each complete set of rules to the event loop, from the rule feed's thread."""

    def __init__(self, kafka: str, deciding: Deciding) -> None:
        super().__init__()
        self._kafka = kafka
        self._deciding = deciding

    async def on_start(self) -> None:
        """Starts the feed."""
        loop = asyncio.get_running_loop()

        def publish(published: Published) -> None:
            loop.call_soon_threadsafe(self._deciding.adopt, published)

        self._feed = RuleFeed(self._kafka, publish)
        self._feed.start()

    async def on_stop(self) -> None:
        """Ends the feed."""
        await asyncio.get_running_loop().run_in_executor(None, self._feed.stop)


def create_app(settings: StreamSettings, slot: int = 0) -> faust.App:
    """The application, ready for `faust.Worker`. Asks the broker for the partition count; raises TopicsMissing.

    Of the workers that run at once each needs a `slot` of its own.
    """
    connection = Connection(settings.kafka)
    runtime = Runtime(
        RuntimeSettings(
            name=settings.streams_group,
            slot=str(slot),
            connection=connection,
            inputs=tuple(topic.name for topic in INPUTS),
            partitions=user_partitions(connection),
            snapshot_s=settings.snapshot_interval_s or None,
            faust={
                "datadir": str(settings.data_dir),
                "topic_replication_factor": settings.replication_factor,
                "web_bind": "127.0.0.1",
                "web_host": "127.0.0.1",
                "web_port": settings.web_port + slot,
            },
        ),
        CheckpointJournal(),
    )
    deciding = Deciding(runtime, settings.default_zone)
    runtime.decide(deciding)
    runtime.accompany(FollowRules(settings.kafka, deciding))
    app: faust.App = runtime.app
    return app
