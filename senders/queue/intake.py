"""Reads commands from Kafka into the ledger. Once a command is admitted, delivery needs Kafka no more to send it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Event
from typing import Any

from confluent_kafka import Message, TopicPartition
from psycopg import Connection

from infra.kafka.batch_reader import BatchReader
from infra.kafka.observer import ReaderObserver
from infra.postgres.database import Database
from schemas import codec
from schemas.budgets import Budget
from schemas.commands import SendCommand
from schemas.topics import COMMANDS
from senders.queue import admission, retention
from senders.queue.admission import AdmittedBatch
from senders.queue.ledger import Admission, QueueClass, queue_priority
from senders.queue.observer import LedgerObserver
from senders.settings import SenderSettings

SAMPLE = SendCommand(
    id="0" * 32,
    trigger="sample",
    rule_hash="",
    occurrence="",
    step="sample",
    user_id="sample",
    template="sample",
    template_hash="",
    purpose="sample",
    decided_at=datetime(1970, 1, 1, tzinfo=UTC),
    expires_at=datetime(1970, 1, 1, tzinfo=UTC),
)


class CommandIntake(BatchReader[Admission]):
    """Admits commands, and tells the worker about new ones and about assigned and revoked partitions.

    The three callbacks are called in this reader's thread, and should return at once: a rebalance waits for them.
    """

    group = "ebbtide-senders"
    topics = (COMMANDS.name,)

    def __init__(
        self,
        settings: SenderSettings,
        database: Database,
        halt: Event,
        partitions: int,
        *,
        take_over: Callable[[list[int]], None],
        give_up: Callable[[list[int]], None],
        admitted: Callable[[Mapping[QueueClass, datetime]], None],
        observer: ReaderObserver | None = None,
        ledger_observer: LedgerObserver | None = None,
    ) -> None:
        super().__init__(
            settings.connection, database, halt, settings.session_timeout_ms, settings.sender_instance, observer
        )
        self._ledger_observer = LedgerObserver() if ledger_observer is None else ledger_observer
        self._partitions = partitions
        self._take_over = take_over
        self._give_up = give_up
        self._admitted = admitted
        self._classes: dict[QueueClass, datetime] = {}
        self._batch = AdmittedBatch(0)
        """What became of the last batch."""

    def decode(self, record: Message) -> Admission:
        """The command, checked for its partition; raises DecodeError."""
        command = codec.decode(SendCommand, record.value())
        partition = record.partition() or 0
        codec.require_own_partition(record.key(), command.user_id, partition, self._partitions)
        return Admission(partition, command, record.value() or b"")

    def write(self, connection: Connection[Any], items: Sequence[Admission]) -> int:
        """Admit the commands that the ledger does not know yet."""
        [[now]] = connection.execute("SELECT clock_timestamp()").fetchall()
        batch = admission.admit(connection, items, now)
        for item in items:
            self._classes.setdefault(QueueClass(item.partition, queue_priority(item.command)), now)
        if batch.new < len(items):
            self.log.info("commands_known_already", count=len(items) - batch.new)
        self._batch = batch
        return batch.new

    def written(self, items: Sequence[Admission]) -> None:
        """Tell of budgets that hold commands, now that these are durable."""
        del items
        for name, count in self._batch.held.items():
            self._ledger_observer.held(name, count)
        for each in self._batch.told:
            self.log.warning(
                "budget_exceeded",
                budget=each.budget.name,
                window=each.budget.window,
                max=each.budget.max,
                held=each.held,
                next_step="`ebbtide budgets` shows what it holds; release or discard that",
            )

    def samples(self) -> Sequence[Admission]:
        """Commands without a user or a rule: one without budgets, and two of which one is held."""
        budget = Budget(name="trigger/sample", max=1, per_ms=1)
        limited = [SAMPLE.model_copy(update={"id": digit * 32, "budgets": (budget,)}) for digit in "12"]
        return [Admission.of(0, each) for each in (SAMPLE, *limited)]

    def after_batch(self) -> None:
        """Wake the worker, which then asks the ledger what is due in the classes that have new commands."""
        admitted, self.changed_commands = self.changed_commands, 0
        if admitted:
            self._ledger_observer.admitted(admitted)
        classes, self._classes = self._classes, {}
        self._admitted(classes)

    def assigned(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Hand the partitions to the worker, once the ledger has partitions of its own for these days."""
        self.database.run(retention.add_partitions)
        self._take_over([partition.partition for partition in partitions])
        return partitions

    def revoked(self, partitions: list[TopicPartition]) -> None:
        """Make the worker give the partitions up."""
        self._give_up([partition.partition for partition in partitions])
