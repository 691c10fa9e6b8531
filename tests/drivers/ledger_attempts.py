"""Attempts in the ledger on a real PostgreSQL: two workers, a partition, and the changes that tests make."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from schemas.commands import DEFAULT_PRIORITY, SendCommand
from schemas.vocabulary import LedgerState
from senders.queue import leases, ledger, outbox, transitions
from senders.queue.due_order import BEGINNING
from senders.queue.ledger import Admission, DueCommand, QueueClass
from senders.queue.outbox import OutboxMessage
from senders.queue.transitions import AttemptStart, StateChange

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
MINE, OTHER = "worker-a", "worker-b"
LEASE = timedelta(seconds=30)
ORDINARY = QueueClass(0, DEFAULT_PRIORITY)


def admit(database_url: str, *commands: SendCommand, partition: int = 0) -> int:
    """Admits the commands; returns how many were new."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        return ledger.admit(connection, [Admission.of(partition, command) for command in commands], NOW)


async def take(connection: AsyncConnection[Any], now: datetime = NOW, **changes: Any) -> list[DueCommand]:
    """The commands of partition 0 that are due."""
    arguments: dict[str, Any] = {"after": {ORDINARY: BEGINNING}, "without": [], "now": now, "limit": 10}
    return await ledger.read_commands(connection, await ledger.due_commands(connection, **(arguments | changes)))


async def unpublished(connection: AsyncConnection[Any]) -> list[OutboxMessage]:
    """The outcomes of partition 0 that wait to be published."""
    return [row.message() for row in await outbox.unpublished_rows(connection, [0], 10)]


async def publish(connection: AsyncConnection[Any]) -> None:
    """Publishes what waits."""
    await outbox.mark_published(connection, await unpublished(connection))


def start(due: DueCommand) -> AttemptStart:
    """The begin of an attempt."""
    return AttemptStart(due, b"\x01" * 32, NOW)


def change(due: DueCommand, state: LedgerState, attempt: int = 1, **changes: Any) -> StateChange:
    """The answer to an attempt."""
    return StateChange(due.command.id, attempt, state, LATER, **changes)


async def row(connection: AsyncConnection[Any], command: SendCommand) -> tuple[Any, ...]:
    """State, attempt, owner and next attempt of a command."""
    cursor = await connection.execute(
        "SELECT state, attempt, owner, next_attempt_at FROM ledger WHERE command_id = %s", [command.id]
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def own(connection: AsyncConnection[Any], owner: str) -> None:
    """Make this worker the owner of partition 0."""
    await leases.renew(connection, owner, LEASE)
    await leases.take_over(connection, [0], owner)


async def judge(connection: AsyncConnection[Any], resend: Sequence[str] = ()) -> int:
    """Let OTHER put in doubt what lost workers began. Returns how many commands."""
    lost, in_doubt = await leases.lost_workers(connection, OTHER, LEASE), 0
    while lost is not None:
        count, lost = await leases.mark_in_doubt(connection, lost, resend)
        in_doubt += count
    return in_doubt


async def grow_old(connection: AsyncConnection[Any], owner: str) -> None:
    """As if this worker had renewed its lease without a gap for long enough to judge others."""
    await connection.execute(
        "UPDATE ledger_workers SET renewed_since = now() - %s::interval WHERE owner = %s",
        [LEASE * leases.WATCHED, owner],
    )


async def begin_one(connection: AsyncConnection[Any], database_url: str) -> DueCommand:
    """A command that MINE has begun."""
    await own(connection, MINE)
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    assert await transitions.begin(connection, [start(due)], MINE) == {due.command.id}
    return due


async def lose(connection: AsyncConnection[Any], resend: Sequence[str] = ()) -> None:
    """Let OTHER take over what MINE leaves in doubt."""
    await leases.end(connection, MINE)
    await judge(connection, resend)
    await own(connection, OTHER)
