"""The Faust application, from a factory: one agent over the user-keyed inputs, one table of user state, one timer.

Stock transport, at least once: the ids that the core gives make a repeated command or decision recognisable.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import faust
import structlog
from confluent_kafka.admin import AdminClient

from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, EVENTS, OUTCOMES, PROFILES
from schemas.vocabulary import DeadLetterCause
from streams.evaluate import Decider, Outgoing, Record, Step, dead_letter
from streams.rulefeed import Published, RuleFeed
from streams.settings import StreamSettings
from streams.timers import TimerIndex
from triggers.evaluator import Evaluator
from triggers.state import UserState

log = structlog.get_logger()

TICK_S = 1.0
INPUTS = (EVENTS, PROFILES, OUTCOMES)


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


def wall_clock_ms() -> int:
    """Now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def user_partitions(kafka: str) -> int:
    """The partition count that the inputs share; raises TopicsMissing where they do not."""
    topics = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=30).topics
    counts = {t.name: len(topics[t.name].partitions) if t.name in topics else 0 for t in INPUTS}
    if 0 in counts.values():
        absent = ", ".join(name for name, count in counts.items() if not count)
        raise TopicsMissing(f"no topic {absent}; run `ebbtide topics` first")
    if len(set(counts.values())) > 1:
        raise TopicsMissing(f"inputs disagree on their partition count {counts}; recreate them with one count")
    return counts[EVENTS.name]


class Worker:
    """The state of one running worker: its table, its timers, its rules, and the step that ties them together."""

    def __init__(self, app: faust.App, settings: StreamSettings, partitions: int, clock: Callable[[], int]) -> None:
        self.app = app
        self.clock = clock
        self.timers = TimerIndex()
        self.decider: Decider | None = None
        self.has_rules = asyncio.Event()
        self._default_zone = settings.default_zone
        self._partitions = partitions
        self._outputs = {
            t.name: app.topic(t.name, key_serializer="raw", value_serializer="raw", partitions=partitions)
            for t in (COMMANDS, DECISIONS, DEAD_LETTERS)
        }
        # Faust finds the changelog's partition by the key, as every producer here does, so that timers may write too.
        self.table = app.Table(
            "user-state",
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            use_partitioner=True,
            on_recover=self.index_timers,
        )

    def adopt(self, published: Published) -> None:
        """Switches to another set of rules, between two records."""
        evaluator = Evaluator(published.rules, default_zone=self._default_zone, paused=published.paused)
        self.decider = Decider(evaluator, self._partitions)
        self.has_rules.set()
        log.info("rules_current", manifest=published.manifest, triggers=len(published.rules.triggers))

    async def index_timers(self) -> None:
        """Builds the timer index anew from the recovered table."""
        self.timers.clear()
        for key, raw in self.table.items():
            self.timers.set(key, UserState.decode(key.decode(), raw).next_due())

    def apply(self, record: Record) -> None:
        """One record, to its end: state, timers and outgoing records. No await between a change and its ack."""
        assert self.decider is not None
        now_ms = self.clock()
        try:
            step = self.decider.apply(record, self._state_of(record), now_ms)
        except Exception as error:
            place = f"{record.topic}[{record.partition}]@{record.offset}"
            log.exception("record_failed", place=place)
            detail = f"{type(error).__name__}: {error}"
            step = Step(outgoing=[dead_letter(record, DeadLetterCause.RULE_ERROR, detail, now_ms)])
        self._keep(step)

    def fire(self) -> int:
        """Fires everything that is due; returns how many users it touched."""
        if self.decider is None:
            return 0
        now_ms, fired = self.clock(), 0
        while (key := self.timers.pop_due(now_ms)) is not None:
            raw = self.table.get(key)
            if raw is not None:
                self._keep(self.decider.fire_due(key.decode(), raw, now_ms))
                fired += 1
        return fired

    def _state_of(self, record: Record) -> bytes | None:
        return None if record.key is None else self.table.get(record.key)

    def _keep(self, step: Step) -> None:
        if step.user_id is not None and step.state is not None:
            key = step.user_id.encode()
            self.table[key] = step.state
            self.timers.set(key, step.next_due_ms)
        for outgoing in step.outgoing:
            self._send(outgoing)

    def _send(self, outgoing: Outgoing) -> None:
        self._outputs[outgoing.topic].send_soon(key=outgoing.key, value=outgoing.value)


def create_app(settings: StreamSettings, clock: Callable[[], int] = wall_clock_ms) -> faust.App:
    """The application, ready for `faust.Worker`. Asks the broker for the partition count; raises TopicsMissing."""
    partitions = user_partitions(settings.kafka)
    app = faust.App(
        settings.streams_group,
        broker=f"kafka://{settings.kafka.replace(',', ';kafka://')}",
        store="memory://",
        datadir=str(settings.data_dir),
        topic_partitions=partitions,
        topic_replication_factor=settings.replication_factor,
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_commit_interval=settings.commit_interval_s,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        web_bind="127.0.0.1",
        web_host="127.0.0.1",
        web_port=settings.web_port,
    )
    worker = Worker(app, settings, partitions, clock)
    inputs = app.topic(*(t.name for t in INPUTS), key_serializer="raw", value_serializer="raw")

    @app.task
    async def follow_rules() -> None:
        loop = app.loop

        def publish(published: Published) -> None:
            loop.call_soon_threadsafe(worker.adopt, published)

        feed = RuleFeed(settings.kafka, publish)
        feed.start()
        while not app.should_stop:
            await app.sleep(TICK_S)
        feed.stop()

    @app.agent(inputs)
    async def decide(stream: Any) -> None:
        await worker.has_rules.wait()
        async for event in stream.events():
            message = event.message
            worker.apply(Record(message.topic, message.partition, message.offset, message.key, message.value))

    @app.timer(TICK_S)
    async def fire_timers() -> None:
        worker.fire()

    return app
