"""The runtime as one thing: its settings, its parts put together, and the Faust application on top of them.

Serves any Faust application: it knows partitions, records, tables and time, and nothing of what they are for.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import confluent_kafka
import faust
import structlog
from confluent_kafka import KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from mode import Service

from infra.kafka.connection import Connection
from infra.kafka.futures import REQUEST_TIMEOUT_S
from infra.kafka.offsets import EndOffsets
from infra.kafka.retry import RETRY_TIMEOUT_S, retry
from infra.kafka.topics import TopicPartition
from streams.faust.batches import Acks, BatchStep, GatedStream, PassThrough, Steps
from streams.faust.restoring import TableManager
from streams.faust.table import Table
from streams.faust.transport import Transport
from streams.runtime.checkpoint import Buffer, Journal, Mark, Output, Sealed
from streams.runtime.checkpointer import Checkpointer
from streams.runtime.clock import Run
from streams.runtime.commit import Committer, Outcome
from streams.runtime.ending import end_process, refuse
from streams.runtime.fetchwatch import FetchWatch
from streams.runtime.inputs import Inputs, by_number
from streams.runtime.intake import Intake, IntakeSettings
from streams.runtime.observer import Observer
from streams.runtime.recovery import ChangelogReader, Overtaken, Recovered
from streams.runtime.snapshot import SnapshotFolder
from streams.runtime.snapshotter import Snapshotter
from streams.runtime.topics import TopicWatch, look

log = structlog.get_logger()

READY_S = 0.05
STOP_S = 3.5
"""How long a stop waits for the last checkpoint: under 5 s with what else a stop does."""


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """What a worker is told. `inputs` are merged by partition number and share `partitions`."""

    name: str
    """The application: group id, prefix of changelogs and of transactional ids."""
    slot: str
    """Which of its workers: no two that run at once may have one slot, for the later fences the earlier."""
    connection: Connection
    inputs: tuple[str, ...]
    partitions: int
    checkpoint_s: float = 0.2
    run_records: int = 1_000
    """Records applied without letting the event loop go."""
    transaction_timeout_ms: int = 10_000
    """How long a worker that is stopped, not dead, can keep its successor and every reader waiting."""
    static_membership: bool = True
    session_timeout_ms: int = 10_000
    partitioner: str = "murmur2_random"
    snapshot_s: float | None = 60.0
    """At least this long between two local snapshots of a partition, in Faust's `tabledir`; None or 0: none."""
    beside: tuple[str, ...] = ()
    """Other topics that must stay as they are while it runs, such as those that it writes."""
    faust: Mapping[str, Any] = field(default_factory=dict)
    """More of Faust's own settings."""

    @property
    def intake(self) -> IntakeSettings:
        """What the consumer is told."""
        instance = f"{self.name}-{self.slot}" if self.static_membership else None
        return IntakeSettings(self.name, instance, self.session_timeout_ms)

    def producer(self) -> dict[str, str | int | float | bool]:
        """What the transactional producer is told."""
        return self.connection.client(
            transactional_id=f"{self.name}-{self.slot}",
            transaction_timeout_ms=self.transaction_timeout_ms,
            partitioner=self.partitioner,
            linger_ms=5,
            compression_type="lz4",
            allow_auto_create_topics=False,  # a topic that was deleted must not come back empty, with other settings
            queue_buffering_max_messages=1_000_000,
            queue_buffering_max_kbytes=1024 * 1024,
        ) | {"delivery.report.only.error": True}


class Runtime:
    """One worker. Build it, take its `app`, declare tables and agents, `decide` what is done with the merged inputs."""

    intake: Intake

    def __init__(
        self,
        settings: RuntimeSettings,
        journal: Journal | None = None,
        committer: Callable[[Any], Committer] = Committer,
    ) -> None:
        self.settings = settings
        self.connection = settings.connection
        self.buffer = Buffer(journal)
        self.admin = AdminClient(self.connection.client())
        self.ends = EndOffsets(self.admin)
        self.committer = committer(lambda: Producer(settings.producer()))
        self.inputs = Inputs(settings.inputs, self.ends, lambda: self.intake, settings.run_records)
        self.observers: list[Observer] = []
        self.checkpointer = Checkpointer(
            self.buffer, self.committer, self.tables, end_process, self._lost, self._checkpointed
        )
        self.companions: list[Service] = []
        self.fetch_watch = FetchWatch(lambda: self.intake, self.ends, self._stalled, end_process)
        self.topic_watch = TopicWatch(self.admin, self._topics, end_process)
        self._step: BatchStep | None = None
        self._never_committed: set[int] = set()
        """Partition numbers of which the group knows no offset."""
        self._finished = False
        self.app: Any = self._new_app()  # Faust's interfaces do not know our consumer and tables
        folder, interval_s = SnapshotFolder(Path(self.app.conf.tabledir), settings.slot), settings.snapshot_s
        self.snapshotter = Snapshotter(folder, self.checkpointer, self.ends, interval_s or float("inf"))
        used = folder if interval_s else None
        self._reader = ChangelogReader(self.connection, settings.name, self.admin, self.ends, used)

    def decide(self, steps: Steps) -> None:
        """Registers the agent that applies the merged inputs with `steps`."""
        self._step = BatchStep(steps, self.buffer)
        channel = self.app.topic(*self.settings.inputs, schema=PassThrough(), partitions=self.settings.partitions)

        async def decide(stream: Any) -> None:
            async for run in stream:
                await self.apply(run)

        self.app.agent(channel, name="decide")(decide)

    async def apply(self, run: Run[Message]) -> None:
        """Applies one run, without ever suspending; ends the process where that fails."""
        assert self._step is not None
        try:
            self._step(run)
        except Exception:
            log.exception("step_failed", partition=run.partition)
            end_process("a batch step failed outside of a record; going on would lose it")

    def accompany(self, service: Service) -> None:
        """Has `service` run beside the worker, from before the first recovery: Faust's own tasks begin after it."""
        self.companions.append(service)

    def observe(self, *observers: Observer) -> None:
        """Has them told what the worker goes through."""
        self.observers += observers

    def emit(self, output: Output) -> None:
        """Writes a record with the open checkpoint."""
        self.buffer.emit(output)

    def check_assignment(self, places: frozenset[TopicPartition]) -> None:
        """Ends the process where a partition number came without all inputs: their counts differ, or one is gone."""
        for number, topics in by_number(places, self.settings.inputs).items():
            missing = set(self.settings.inputs) - topics
            if missing:
                names = ", ".join(sorted(missing))
                end_process(f"partition {number} of {names} is missing; all inputs need one partition count")

    async def check_topics(self) -> None:
        """Ends the process where what it has done and the topics do not go together: starting again would not help."""
        await self._in_thread(lambda: retry(self._check_topics))

    def _check_topics(self) -> None:
        found = look(self.admin, self._topics())
        changelogs = {table.changelog for table in self.tables()}
        for name, topic in found.items():
            if name not in self.settings.beside and topic.partitions != self.settings.partitions:
                refuse(f"topic {name} has {topic.partitions} partitions, not {self.settings.partitions}; recreate it")
        missing = self._topics() - found.keys()
        if missing - changelogs:
            refuse(f"no topic {', '.join(sorted(missing - changelogs))}; make it first")
        if missing and self._has_committed():
            refuse(
                f"changelog {', '.join(sorted(missing))} is gone, and with it the state of what group "
                f"{self.settings.name} has applied; make it (compacted, {self.settings.partitions} partitions) with "
                "its records, or empty where the state may begin anew"
            )

    def _topics(self) -> set[str]:
        agents = {topic for channel in self.app.topics for topic in channel.topics}
        return {*self.settings.inputs, *agents, *self.settings.beside, *(t.changelog for t in self.tables())}

    def _has_committed(self) -> bool:
        places = [
            TopicPartition(topic, number)
            for topic in self.settings.inputs
            for number in range(self.settings.partitions)
        ]
        return any(answer.offset >= 0 for answer in self._ask_committed(places))

    def drop(self) -> None:
        """Forgets all state and everything uncommitted."""
        self.checkpointer.drop()
        self._forget()

    def _forget(self) -> None:
        self.snapshotter.drop()
        self.inputs.drop()
        if self._step is not None:
            self._step.dropped()
        for observer in self.observers:
            observer.dropped()

    async def finish(self) -> None:
        """The last checkpoint: nothing is begun after it. Ends the process where the broker does not let it end."""
        if self._finished:
            return
        self._finished = True
        for observer in self.observers:
            observer.stops()
        snapshots = await self.snapshotter.begin_last()
        if not await self.checkpointer.finish(STOP_S, proof=snapshots is not None):
            end_process(f"the last checkpoint was not committed within {STOP_S:g} s of the stop")
        if snapshots is not None:
            await self.snapshotter.save(snapshots)

    async def recover(self, places: frozenset[TopicPartition], go_on: Callable[[], bool]) -> None:
        """Loads the state of `places` and begins to fetch where it ends; raises Overtaken where `go_on` says no."""
        began_s = time.monotonic()
        numbers = sorted(by_number(places, self.settings.inputs)) or sorted({p.partition for p in places})
        for observer in self.observers:
            observer.assigned(numbers)
        await self.checkpointer.settled()
        committed = await self._in_thread(lambda: self._committed(places, go_on))
        entries = {}
        for table in self.tables():
            entries[table] = await self._in_thread(partial(self._reader.read, table.changelog, numbers, go_on))
        await self._ready(committed, go_on)
        if not go_on():
            raise Overtaken("assignment")
        self._refuse_state_alone(entries)
        for table, partitions in entries.items():
            for number, found in partitions.items():
                table.local.load(number, found.entries)
                self.snapshotter.keep(table.local.partition(number), found)
        self._begin(committed)
        for observer in self.observers:
            observer.recovered(numbers, time.monotonic() - began_s)

    def _refuse_state_alone(self, entries: Mapping[Table, Mapping[int, Recovered]]) -> None:
        for table, partitions in entries.items():
            for number in sorted(self._never_committed & {n for n, found in partitions.items() if found.entries}):
                refuse(
                    f"partition {number} of {table.changelog} holds state, and group {self.settings.name} has no "
                    "offsets for it: they expired or were deleted, and every record would be applied twice. Set the "
                    "group's offsets, or delete the changelog to begin anew"
                )

    async def _ready(self, committed: Mapping[TopicPartition, tuple[int, Mark]], go_on: Callable[[], bool]) -> None:
        """Waits for what the steps need, such as rules no older than those that decided before."""
        versions: dict[str, int] = {}
        for _, mark in committed.values():
            for name, number in mark.versions.items():
                versions[name] = max(number, versions.get(name, 0))
        said = False
        while self._step is not None and not self._step.ready(versions):
            if not go_on():
                raise Overtaken("assignment")
            if not said:
                log.info("not_ready", waits_for=versions or "a first version")
                said = True
                for observer in self.observers:
                    observer.waits(versions)
            await asyncio.sleep(READY_S)

    def _begin(self, committed: Mapping[TopicPartition, tuple[int, Mark]]) -> None:
        partitions: dict[int, tuple[dict[str, int], Mark]] = {}
        for number, topics in by_number(committed, self.settings.inputs).items():
            places = [TopicPartition(topic, number) for topic in topics]
            mark = max((committed[place][1] for place in places), key=lambda mark: mark.number)
            partitions[number] = {place.topic: committed[place][0] for place in places}, mark
        singles = {p: offset for p, (offset, _) in committed.items() if p.topic not in self.settings.inputs}
        self.buffer.begin(self.app.consumer.membership, partitions, singles)
        self.inputs.begin(partitions)
        if self._step is not None:
            for number, (_, mark) in partitions.items():
                self._step.loaded(number, mark)
        self.app.consumer.start_from({place: offset for place, (offset, _) in committed.items()})

    def _committed(
        self, places: frozenset[TopicPartition], go_on: Callable[[], bool]
    ) -> dict[TopicPartition, tuple[int, Mark]]:
        """Where each partition goes on, and its mark: stable, and never before what the broker still has. Blocks."""

        def asked(question: Callable[[], Any]) -> Any:
            try:
                return retry(question, RETRY_TIMEOUT_S, go_on)
            except KafkaException:
                if go_on():
                    raise
                raise Overtaken("assignment") from None

        found = {}
        self._never_committed = {place.partition for place in places}
        for answer in asked(partial(self._ask_committed, places)) if places else []:
            place = TopicPartition(answer.topic, answer.partition)
            first, end = asked(partial(self._watermarks, place))
            if answer.offset > end:
                refuse(
                    f"group {self.settings.name} has applied {place} up to {answer.offset}, and it ends at {end}: the "
                    "topic was made anew, or lost records. Where it is meant, delete the group and its changelogs to "
                    "begin anew, or set the group's offsets by hand"
                )
            if 0 <= answer.offset < first:
                lost = first - answer.offset
                log.error("records_expired", place=str(place), lost=lost, next_step="keep the topic longer")
            if answer.offset >= 0:
                self._never_committed.discard(place.partition)
            found[place] = max(answer.offset, first, 0), Mark.decode(answer.metadata)
        return found

    def _ask_committed(self, places: Iterable[TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        answers = self.intake.committed(places).result(2 * REQUEST_TIMEOUT_S)
        for answer in answers:
            if answer.error is not None:
                raise KafkaException(answer.error)
        return answers

    def _watermarks(self, place: TopicPartition) -> tuple[int, int]:
        return self.intake.watermarks(place).result(2 * REQUEST_TIMEOUT_S)

    @staticmethod
    async def _in_thread(work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def tables(self) -> list[Table]:
        """The tables that are recovered and checkpointed."""
        return list(self.app.tables.local())

    def _checkpointed(self, sealed: Sealed, outcome: Outcome, took_s: float) -> None:
        for observer in self.observers:
            observer.checkpointed(sealed, outcome, took_s)

    def _stalled(self, place: TopicPartition) -> None:
        for observer in self.observers:
            observer.stalled(place)

    def _lost(self) -> None:
        """A commit found the partitions gone; the consumer hears of it next, and rejoins."""
        self.app.consumer.suspend()
        self._forget()

    def close(self) -> None:
        """Ends what a stop leaves."""
        self.inputs.close()
        self._reader.close()

    def _new_app(self) -> faust.App:
        settings = self.settings
        stream = type("Stream", (GatedStream,), {"gate": self.checkpointer.gate})
        tables = type("TableManager", (TableManager,), {"runtime": self})
        app = _App(
            settings.name,
            broker=f"kafka://{settings.connection.servers.replace(',', ';kafka://')}",  # shown in logs only
            processing_guarantee="exactly_once",
            store="memory://",
            topic_partitions=settings.partitions,
            topic_disable_leader=True,
            table_standby_replicas=0,
            broker_commit_interval=settings.checkpoint_s,
            broker_commit_every=10**12,
            broker_max_poll_records=None,
            stream_buffer_maxsize=8,
            stream_recovery_delay=0.0,
            stream_wait_empty=False,
            cython_optimizations=True,
            Table=Table,
            TableManager=tables,
            Stream=stream,
            **settings.faust,
        )
        app.runtime = self
        app.transport = Transport(self, app)
        app.producer_transport = app.transport
        app.sensors.add(Acks(app, self.checkpointer.gate, self.buffer, lambda *held: self.intake.release(*held)))
        return app


class _App(faust.App):
    runtime: Runtime

    async def on_stop(self) -> None:
        """Commits while events still flow, so that what was begun is finished; then stops as Faust does."""
        await self.runtime.finish()
        await super().on_stop()
