"""The parts of a worker that do not depend on the consumer, and what its life cycle does to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from mode import Service

from infra.kafka.offsets import EndOffsets
from infra.kafka.partition_counts import existing_topics
from infra.kafka.retry import retry
from infra.kafka.topics import TopicPartition
from streams.faust.background import in_thread
from streams.faust.batches import BatchProcessor
from streams.faust.settings import RuntimeSettings
from streams.faust.table import Table
from streams.runtime.checkpoint import Buffer, Journal, Output, Transaction
from streams.runtime.checkpointer import Checkpointer
from streams.runtime.commit import CommitOutcome, Committer
from streams.runtime.ending import end_for_repair, end_process
from streams.runtime.group_offsets import GroupOffsets
from streams.runtime.inputs import Inputs, by_number
from streams.runtime.observer import Observer
from streams.runtime.recovery import ChangelogReader
from streams.runtime.snapshot import SnapshotFolder
from streams.runtime.snapshotter import Snapshotter
from streams.runtime.topics import TopicWatch

STOP_S = 3.5
"""How long a stop waits for the last checkpoint. A whole stop takes less than 5 s."""


class RuntimeCore:
    """The parts of one worker, on the Faust application `app`."""

    def __init__(
        self,
        settings: RuntimeSettings,
        app: Any,
        journal: Journal | None,
        committer: Callable[[Any], Committer],
    ) -> None:
        self.settings = settings
        self.app = app  # Any: Faust's interfaces do not know our consumer and tables
        self.connection = settings.connection
        self.buffer = Buffer(journal)
        self.admin = AdminClient(self.connection.client())
        self.ends = EndOffsets(self.admin)
        self.committer = committer(lambda: Producer(settings.producer()))
        self.inputs = Inputs(settings.inputs, self.ends, settings.batch_records, settings.weights)
        self.observers: list[Observer] = []
        self.checkpointer = Checkpointer(
            self.buffer, self.committer, self.tables, end_process, self._lost, self._checkpointed
        )
        self.services: list[Service] = []
        self.topic_watch = TopicWatch(self.admin, self._topics, end_process)
        self.processor: BatchProcessor | None = None
        self._finished = False
        folder, interval_s = SnapshotFolder(Path(self.app.conf.tabledir), settings.slot), settings.snapshot_s
        self.snapshotter = Snapshotter(folder, self.checkpointer, self.ends, interval_s or float("inf"))
        used = folder if interval_s else None
        self.changelogs = ChangelogReader(self.connection, settings.name, self.admin, self.ends, used)

    def add_service(self, service: Service) -> None:
        """Runs `service` in the background from before the first recovery. Faust's own tasks begin after that."""
        self.services.append(service)

    def observe(self, *observers: Observer) -> None:
        """Adds observers of the worker's life cycle."""
        self.observers += observers

    def emit(self, output: Output) -> None:
        """Adds a record to the open checkpoint."""
        self.buffer.emit(output)

    def check_assignment(self, partitions: frozenset[TopicPartition]) -> None:
        """Ends the process if a partition number lacks an input: their counts differ, or a topic is gone."""
        for number, topics in by_number(partitions, self.settings.inputs).items():
            missing = set(self.settings.inputs) - topics
            if missing:
                names = ", ".join(sorted(missing))
                end_process(f"partition {number} of {names} is missing; all inputs need one partition count")

    async def check_topics(self, offsets: GroupOffsets) -> None:
        """Ends the process if the topics do not fit the group's state, so that a restart would not help."""
        await in_thread(lambda: retry(lambda: self._check_topics(offsets)))

    def _check_topics(self, offsets: GroupOffsets) -> None:
        found = existing_topics(self.admin, self._topics())
        changelogs = {table.changelog for table in self.tables()}
        for name, topic in found.items():
            if name not in self.settings.other_topics and topic.partitions != self.settings.partitions:
                end_for_repair(
                    f"topic {name} has {topic.partitions} partitions, not {self.settings.partitions}; recreate it"
                )
        missing = self._topics() - found.keys()
        if missing - changelogs:
            end_for_repair(f"no topic {', '.join(sorted(missing - changelogs))}; create it first")
        if missing and offsets.any_committed(self._input_partitions()):
            end_for_repair(
                f"changelog {', '.join(sorted(missing))} is gone, and with it the state of what group "
                f"{self.settings.name} has applied; create it (compacted, {self.settings.partitions} partitions) and "
                "restore its records, or leave it empty to start without state"
            )

    def _topics(self) -> set[str]:
        agents = {topic for channel in self.app.topics for topic in channel.topics}
        return {*self.settings.inputs, *agents, *self.settings.other_topics, *(t.changelog for t in self.tables())}

    def _input_partitions(self) -> list[TopicPartition]:
        numbers = range(self.settings.partitions)
        return [TopicPartition(topic, number) for topic in self.settings.inputs for number in numbers]

    def drop(self) -> None:
        """Drops all state and everything uncommitted."""
        self.checkpointer.drop()
        self._drop_rest()

    def _drop_rest(self) -> None:
        self.snapshotter.drop()
        self.inputs.drop()
        if self.processor is not None:
            self.processor.dropped()
        for observer in self.observers:
            observer.dropped()

    async def finish(self) -> None:
        """Takes the last checkpoint, after which no event begins. Ends the process if it does not commit in time."""
        if self._finished:
            return
        self._finished = True
        for observer in self.observers:
            observer.stops()
        snapshots = await self.snapshotter.begin_final()
        if not await self.checkpointer.finish(STOP_S, force=snapshots is not None):
            end_process(f"the last checkpoint was not committed within {STOP_S:g} s of the stop")
        if snapshots is not None:
            await self.snapshotter.save(snapshots)

    def tables(self) -> list[Table]:
        """The tables that are recovered and checkpointed."""
        return list(self.app.tables.local())

    def _checkpointed(self, transaction: Transaction, result: CommitOutcome, took_s: float) -> None:
        for observer in self.observers:
            observer.checkpointed(transaction, result, took_s)

    def stalled(self, partition: TopicPartition) -> None:
        """Tells the observers that the partition stalled and is fetched again."""
        for observer in self.observers:
            observer.stalled(partition)

    def _lost(self) -> None:
        """A commit found that the partitions are lost. The consumer will be notified and rejoin the group."""
        self.app.consumer.suspend()
        self._drop_rest()

    def close(self) -> None:
        """Closes threads and clients that a stop leaves."""
        self.inputs.close()
        self.changelogs.close()
