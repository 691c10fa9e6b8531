"""The Faust application, from a factory: the trigger core as steps of the runtime, its state in one table.

Exactly once: state, decisions, commands, dead letters, journal and offsets of a checkpoint are one transaction.
"""

import asyncio
import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping

import faust
import structlog
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient
from mode import Service

from schemas.plain import plain_event
from schemas.topics import EVENTS, OUTCOMES, PROFILES
from schemas.vocabulary import DeadLetterCause
from streams.broker import Connection
from streams.checkpoint import Mark
from streams.ending import end_process
from streams.evaluate import Decider, Record, Step, dead_letter
from streams.journal import CheckpointJournal
from streams.keys import PartitionKeys
from streams.rulefeed import Published, RuleFeed
from streams.runtime import Runtime, RuntimeSettings
from streams.settings import StreamSettings
from streams.timers import TimerIndex
from triggers.encoding import due_of
from triggers.evaluator import Evaluator

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
        self._keys: dict[int, PartitionKeys] = {}
        self._table = runtime.app.Table("user-state", partitions=self._partitions).local

    def adopt(self, published: Published) -> None:
        """Switches to other rules or switches, between two runs; never back to an earlier number of either."""
        versions = {"manifest": published.manifest, "control": published.control}
        if not _reaches(versions, self._versions):
            log.warning("rules_older", **versions, running=self._versions)
            return
        evaluator = Evaluator(published.rules, default_zone=self._default_zone, paused=published.paused)
        self._decider = Decider(evaluator)
        self._versions = versions
        log.info("rules_current", **versions, triggers=len(published.rules.triggers), paused=sorted(published.paused))

    # The runtime's Steps.

    def ready(self, versions: Mapping[str, int]) -> bool:
        """Whether there are rules, and neither they nor the switches are older than those last applied."""
        return self._decider is not None and _reaches(self._versions, versions)

    def loaded(self, partition: int, mark: Mark) -> None:  # noqa: ARG002 - the runtime keeps the clock
        """Builds the partition's timer index."""
        held = self._table.raw(partition)
        self._keys[partition] = PartitionKeys(partition, self._partitions, held)
        timers = self._timers[partition] = TimerIndex()
        timers.fill((key, due) for key, raw in held.items() if (due := due_of(raw)) is not None)

    def dropped(self) -> None:
        """Forgets the timers."""
        self._timers.clear()

    def versions(self) -> Mapping[str, int]:
        """The rules and control in force."""
        return self._versions

    def reading(self, partition: int, topic: str) -> Callable[[Message, int], None]:
        """Decides records of one input. State is changed only after the core has answered."""
        decider = self._current
        get, keep, keys = self._table.get, self._keep, self._keys[partition]

        def read(record: Message, now_ms: int) -> None:
            key = record.key()
            state = None if key is None else get(partition, key)
            keep(partition, decider.apply(_read(record), keys, state, now_ms))

        if topic != EVENTS.name:
            return read
        is_at_home, types = keys.is_at_home, decider.read_types

        def read_event(record: Message, now_ms: int) -> None:
            event = plain_event(record.value())
            if event is None or event.type in types or not is_at_home(record.key(), event.user_id):
                read(record, now_ms)

        return read_event

    def failed(self, partition: int, record: Message, error: Exception, now_ms: int) -> None:  # noqa: ARG002
        """Puts the record among the dead letters."""
        read = _read(record)
        log.error("record_failed", place=f"{read.topic}[{read.partition}]@{read.offset}", exc_info=error)
        letter = dead_letter(read, DeadLetterCause.RULE_ERROR, f"{type(error).__name__}: {error}", now_ms)
        self._emit(letter)

    def fire(self, partition: int, now_ms: int) -> int:
        """Fires what is due, user by user in order of time."""
        timers, fired = self._timers[partition], 0
        while (key := timers.pop_due(now_ms)) is not None:
            raw = self._table.get(partition, key)
            if raw is not None:
                self._keep(partition, self._current.fire_due(partition, key.decode(), raw, now_ms))
                fired += 1
        return fired

    @property
    def _current(self) -> Decider:
        assert self._decider is not None
        return self._decider

    def _keep(self, partition: int, step: Step) -> None:
        if step.state is not None:
            self._table.put(partition, step.key, step.state)
            self._timers[partition].set(step.key, step.next_due_ms)
        for output in step.outgoing:
            self._emit(output)


def _reaches(versions: Mapping[str, int], others: Mapping[str, int]) -> bool:
    """Whether no number is below its counterpart in `others`."""
    return all(versions.get(name, 0) >= number for name, number in others.items())


def _read(record: Message) -> Record:
    topic, partition, offset = record.topic(), record.partition(), record.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Record(topic, partition, offset, record.key(), record.value())


class FollowRules(Service):
    """Hands each change of rules or switches to the event loop, from the rule feed's thread."""

    def __init__(self, connection: Connection, deciding: Deciding) -> None:
        super().__init__()
        self._connection = connection
        self._deciding = deciding

    async def on_start(self) -> None:
        """Starts the feed."""
        loop = asyncio.get_running_loop()

        def publish(published: Published) -> None:
            loop.call_soon_threadsafe(self._adopt, published)

        self._feed = RuleFeed(self._connection, publish)
        self._feed.start()

    def _adopt(self, published: Published) -> None:
        try:
            self._deciding.adopt(published)
        except Exception:
            log.exception("rules_not_adopted", manifest=published.manifest, control=published.control)
            end_process("rules that loaded could not be adopted; going on would decide by the ones before")

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
            checkpoint_s=settings.commit_interval_s,
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
    runtime.accompany(FollowRules(connection, deciding))
    app: faust.App = runtime.app
    return app
