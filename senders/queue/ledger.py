"""The ledger: the PostgreSQL tables with every command. `ledger_queue` is delivery's queue.

A command is admitted into `ledger_ids` and `ledger_queue`, and each of its outcomes is a row of `ledger_outcomes`; with
a final one it leaves the queue. The view `ledger` shows each command once. `senders.queue.intake` admits commands,
`senders.queue.transitions` changes their state, `senders.queue.outbox` publishes what became of them, and
`senders.queue.retention` drops what is old. Here are the admission and the questions which commands are due. Times are
passed in.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, Connection

from infra.postgres.columns import RowArrays, array_literal, statement
from schemas import codec
from schemas.commands import SendCommand
from schemas.endpoints import WEBHOOK
from schemas.vocabulary import LedgerState


@dataclass(frozen=True, slots=True)
class Admission:
    """A command, the partition of `commands` that it came from, and its bytes there."""

    partition: int
    command: SendCommand
    raw: bytes

    @classmethod
    def of(cls, partition: int, command: SendCommand) -> "Admission":
        """The admission of a command that was not read from the topic."""
        return cls(partition, command, codec.encode(command))


_BELOW_MAILS = 1_000
"""How much lower the priority of a webhook stands in the queue than its command says."""


def queue_priority(command: SendCommand) -> int:
    """The priority of a command in the queue.

    Those of webhooks are below 0, so that they have classes of their own: a mail server that is away holds up none.
    """
    return command.priority - _BELOW_MAILS if command.channel == WEBHOOK else command.priority


@dataclass(frozen=True, slots=True)
class QueueClass:
    """The commands of one partition with one priority, which are taken in the order of their time."""

    partition: int
    priority: int

    @property
    def of_webhooks(self) -> bool:
        """Whether its commands are webhooks; otherwise all are mails."""
        return self.priority < 0


@dataclass(frozen=True, slots=True)
class CommandStatus:
    """The state of a command's row, without any value of its publisher. `attempt` counts the transactions begun."""

    command_id: str
    state: str
    attempt: int


@dataclass(frozen=True, slots=True)
class DueStatus(CommandStatus):
    """The same of a command that is due: its class in the queue, and since when."""

    queue_class: QueueClass
    due_at: datetime


@dataclass(frozen=True, slots=True)
class DueCommand:
    """A command that is due. `attempt` counts the mail transactions begun so far."""

    command: SendCommand
    partition: int
    state: LedgerState
    attempt: int
    admitted_at: datetime
    due_at: datetime
    last_source: str | None = None
    """The source of the last mail transaction."""
    blocked: bool = False
    """Whether the server refused that source."""
    behind: int | None = None
    """The line that it waited in for its turn (`senders.queue.lines`); it is due since its admission then."""

    @property
    def status(self) -> CommandStatus:
        """The state of its row."""
        return CommandStatus(self.command.id, self.state, self.attempt)

    @property
    def queue_class(self) -> QueueClass:
        """Where it stands in the queue."""
        return QueueClass(self.partition, queue_priority(self.command))


_ADMISSIONS = RowArrays[Admission](
    id=("uuid", lambda admission: admission.command.id),
    partition=("int", lambda admission: admission.partition),
    priority=("smallint", lambda admission: queue_priority(admission.command)),
    channel=("text", lambda admission: admission.command.channel),
    decided_at=("timestamptz", lambda admission: admission.command.decided_at),
    user_id=("text", lambda admission: admission.command.user_id),
    trigger=("text", lambda admission: admission.command.trigger),
    purpose=("text", lambda admission: admission.command.purpose),
    step=("text", lambda admission: admission.command.step),
    variant=("text", lambda admission: admission.command.variant),
    brand=("text", lambda admission: admission.command.brand),
    command=("bytea", lambda admission: admission.raw),
)
_ADMIT = statement(
    """WITH new AS (SELECT DISTINCT ON (id) * FROM {new}), fresh AS (
           INSERT INTO ledger_ids (command_id, admitted_on)
           SELECT id, (now() AT TIME ZONE 'UTC')::date FROM new
           WHERE NOT EXISTS (SELECT FROM ledger_ids AS known WHERE known.command_id = new.id)
           ON CONFLICT DO NOTHING RETURNING command_id
       )
       INSERT INTO ledger_queue (command_id, partition, priority, admitted_at, decided_at, next_attempt_at, state_at,
                                 state, user_id, trigger, purpose, step, variant, brand, channel, command)
       SELECT id, partition, priority, now(), decided_at, %(at)s, now(),
              'admitted', user_id, trigger, purpose, step, variant, brand, channel, command
       FROM new JOIN fresh ON fresh.command_id = new.id""",
    new=_ADMISSIONS.unnest("new"),
)
_ADMIT_NEW = _ADMIT + b" RETURNING command_id"
_DUE = """SELECT command_id, state, attempt, partition, priority, next_attempt_at
    FROM unnest(%(partitions)s::int[], %(priorities)s::smallint[], %(after)s::timestamptz[]) AS c (p, prio, after),
    LATERAL (SELECT * FROM ledger_queue
             WHERE partition = p AND priority = prio AND next_attempt_at >= after AND next_attempt_at <= %(now)s
               AND state <> 'started' AND command_id <> ALL(%(without)s::uuid[])
             ORDER BY next_attempt_at LIMIT %(limit)s) AS due
    ORDER BY priority DESC, next_attempt_at LIMIT %(limit)s"""
_CLASSES = """WITH RECURSIVE found (partition, priority) AS (
        SELECT p, (SELECT max(priority) FROM ledger_queue WHERE partition = p) FROM unnest(%s::int[]) AS p
        UNION ALL
        SELECT partition, (SELECT max(priority) FROM ledger_queue AS q
                           WHERE q.partition = found.partition AND q.priority < found.priority)
        FROM found WHERE priority IS NOT NULL
    )
    SELECT partition, priority FROM found WHERE priority IS NOT NULL"""
_READ = """SELECT command, partition, state, attempt, admitted_at,
           CASE WHEN behind IS NOT NULL AND reason = 'limited' THEN admitted_at ELSE next_attempt_at END,
           way.path::json ->> 'source', blocked, CASE WHEN reason = 'limited' THEN behind END
    FROM ledger_queue AS q
    JOIN unnest(%(ids)s::uuid[], %(attempts)s::int[]) WITH ORDINALITY AS wanted (id, expected, number)
      ON command_id = wanted.id AND attempt = expected AND next_attempt_at IS NOT NULL
    LEFT JOIN ledger_paths AS way ON way.number = q.path
    ORDER BY wanted.number"""


def admit(connection: Connection[Any], admissions: Sequence[Admission], at: datetime) -> int:
    """Insert commands that the ledger does not know yet, due at this time. Returns how many were new."""
    return connection.execute(_ADMIT, {"at": at, **_ADMISSIONS.parameters(admissions)}).rowcount


def admit_new(connection: Connection[Any], admissions: Sequence[Admission], at: datetime) -> set[str]:
    """The same; returns the ids of the new commands."""
    found = connection.execute(_ADMIT_NEW, {"at": at, **_ADMISSIONS.parameters(admissions)})
    return {key.hex for (key,) in found}


async def queue_classes(connection: AsyncConnection[Any], partitions: Collection[int]) -> set[QueueClass]:
    """The classes that have commands now, found by one step in the index for each."""
    cursor = await connection.execute(_CLASSES, [list(partitions)])
    return {QueueClass(partition, priority) async for partition, priority in cursor}


async def due_commands(
    connection: AsyncConnection[Any],
    after: Mapping[QueueClass, datetime],
    without: Collection[str],
    now: datetime,
    limit: int,
) -> list[DueStatus]:
    """The commands that are due, the highest priority first, then the longest waiting, except those in `without`.

    Of each class, those that became due at its time in `after` or later: what was due earlier is not even looked at.
    """
    cursor = await connection.execute(
        _DUE,
        {
            "partitions": array_literal("int", [of.partition for of in after]),
            "priorities": array_literal("smallint", [of.priority for of in after]),
            "after": array_literal("timestamptz", after.values()),
            "now": now,
            "without": array_literal("uuid", without),
            "limit": limit,
        },
    )
    return [
        DueStatus(key.hex, state, attempt, QueueClass(partition, priority), due_at)
        async for key, state, attempt, partition, priority, due_at in cursor
    ]


async def read_commands(connection: AsyncConnection[Any], statuses: Sequence[CommandStatus]) -> list[DueCommand]:
    """The commands whole, in this order. A command whose attempt has changed since is left out."""
    cursor = await connection.execute(
        _READ,
        {
            "ids": array_literal("uuid", [status.command_id for status in statuses]),
            "attempts": array_literal("int", [status.attempt for status in statuses]),
        },
    )
    return [
        DueCommand(
            codec.decode(SendCommand, raw),
            partition,
            LedgerState(state),
            attempt,
            admitted_at,
            due_at,
            source,
            bool(blocked),
            behind,
        )
        async for raw, partition, state, attempt, admitted_at, due_at, source, blocked, behind in cursor
    ]
