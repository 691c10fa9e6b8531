"""The ledger: the PostgreSQL table with one row for each command. It is delivery's queue.

`senders.queue.intake` admits commands, `senders.queue.transitions` changes their state, `senders.queue.outbox`
publishes what became of them. Here are the questions which commands are due, and the changes to many rows at once.
Times are passed in.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.rows import args_row
from psycopg.types.json import Jsonb

from infra.postgres.columns import fields_of, statement
from schemas.commands import SendCommand
from schemas.vocabulary import LedgerState, SuppressionReason

RETENTION = timedelta(days=35)
"""Longer than any topic that can be replayed, so that a command replayed is always known."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A command and the partition of `commands` that it came from."""

    partition: int
    command: SendCommand


@dataclass(frozen=True, slots=True)
class CommandStatus:
    """The state of a command's row, without any value of its publisher. `attempt` counts the transactions begun."""

    command_id: str
    state: str
    attempt: int


@dataclass(frozen=True, slots=True)
class DueCommand:
    """A command that is due. `attempt` counts the mail transactions begun so far."""

    command: SendCommand
    partition: int
    state: LedgerState
    attempt: int
    admitted_at: datetime

    @property
    def status(self) -> CommandStatus:
        """The state of its row."""
        return CommandStatus(self.command.id, self.state, self.attempt)


_DUE = statement(
    """SELECT {status} FROM ledger
       WHERE next_attempt_at <= %(now)s AND partition = ANY(%(partitions)s) AND NOT unpublished
         AND command_id <> ALL(%(without)s)
       ORDER BY next_attempt_at LIMIT %(limit)s""",
    status=fields_of(CommandStatus),
)
_READ = statement(
    """SELECT {command} FROM ledger
       JOIN unnest(%(ids)s::text[], %(attempts)s::int[]) WITH ORDINALITY AS wanted (id, attempt, number)
         ON command_id = wanted.id AND ledger.attempt = wanted.attempt
       ORDER BY wanted.number""",
    command=fields_of(DueCommand, "ledger"),
)


def admit(connection: Connection[Any], admissions: Sequence[Admission], at: datetime) -> int:
    """Insert commands that the ledger does not know yet, due at once. Returns how many were new."""
    cursor = connection.execute(
        """INSERT INTO ledger (command_id, partition, user_id, trigger, purpose, command, state,
                               admitted_at, state_at, next_attempt_at)
           SELECT c->>'id', p, c->>'user_id', c->>'trigger', c->>'purpose', c, 'admitted', %(at)s, %(at)s, %(at)s
           FROM unnest(%(partitions)s::int[], %(commands)s::jsonb[]) AS new (p, c)
           ON CONFLICT (command_id) DO NOTHING""",
        {
            "at": at,
            "partitions": [admission.partition for admission in admissions],
            "commands": [Jsonb(admission.command.model_dump(mode="json")) for admission in admissions],
        },
    )
    return cursor.rowcount


async def due_commands(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    without: Collection[str],
    now: datetime,
    limit: int,
) -> list[CommandStatus]:
    """The commands of these partitions that are due, the longest waiting first, except those in `without`.

    A command whose last outcome is not published yet is left out: the next attempt would overwrite it.
    """
    cursor = connection.cursor(row_factory=args_row(CommandStatus))
    await cursor.execute(_DUE, {"now": now, "partitions": list(partitions), "without": list(without), "limit": limit})
    return await cursor.fetchall()


async def read_commands(connection: AsyncConnection[Any], statuses: Sequence[CommandStatus]) -> list[DueCommand]:
    """The commands whole, in this order. A command whose attempt has changed since is left out."""
    cursor = await connection.execute(
        _READ,
        {"ids": [status.command_id for status in statuses], "attempts": [status.attempt for status in statuses]},
    )
    return [
        DueCommand(SendCommand.model_validate(command), partition, LedgerState(state), attempt, admitted_at)
        async for command, partition, state, attempt, admitted_at in cursor
    ]


def suppress_removed_users(connection: Connection[Any], removed: Mapping[str, datetime]) -> int:
    """End the waiting commands of users who were removed, each up to an instant, as `no_recipient`.

    This includes commands with an address of their own. A command decided after the removal is not touched.
    Returns how many ended.
    """
    cursor = connection.execute(
        """UPDATE ledger SET state = %s, reason = %s, state_at = now(), next_attempt_at = NULL, unpublished = true
           FROM unnest(%s::text[], %s::timestamptz[]) AS removed (user_id, at)
           WHERE ledger.user_id = removed.user_id AND ledger.state = ANY(%s)
               AND (ledger.command ->> 'decided_at')::timestamptz <= removed.at""",
        [
            LedgerState.SUPPRESSED,
            SuppressionReason.NO_RECIPIENT,
            list(removed),
            list(removed.values()),
            [LedgerState.ADMITTED, LedgerState.DEFERRED],
        ],
    )
    return cursor.rowcount


async def delete_settled(connection: AsyncConnection[Any], before: datetime, limit: int) -> int:
    """Delete at most `limit` commands that were settled and published before then. Returns how many."""
    cursor = await connection.execute(
        """DELETE FROM ledger WHERE command_id IN (
             SELECT command_id FROM ledger WHERE state_at < %s AND NOT unpublished AND next_attempt_at IS NULL
               AND state NOT IN ('started', 'in_doubt') LIMIT %s)""",
        [before, limit],
    )
    return cursor.rowcount
