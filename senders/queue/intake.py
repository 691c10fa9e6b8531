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
from schemas.commands import SendCommand
from schemas.topics import COMMANDS
from senders.queue import ledger, retention
from senders.queue.ledger import Admission, QueueClass
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

    def decode(self, record: Message) -> Admission:
        """The command, checked for its partition; raises DecodeError."""
        command = codec.decode(SendCommand, record.value())
        partition = record.partition() or 0
        codec.require_own_partition(record.key(), command.user_id, partition, self._partitions)
        return Admission(partition, command, record.value() or b"")

    def write(self, connection: Connection[Any], items: Sequence[Admission]) -> int:
        """Admit the commands that the ledger does not know yet."""
        [[now]] = connection.execute("SELECT clock_timestamp()").fetchall()
        new = ledger.admit(connection, items, now)
        for item in items:
            self._classes.setdefault(QueueClass(item.partition, item.command.priority), now)
        if new < len(items):
            self.log.info("commands_known_already", count=len(items) - new)
        return new

    def samples(self) -> Sequence[Admission]:
        """A command without a user or a rule."""
        return [Admission.of(0, SAMPLE)]

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
