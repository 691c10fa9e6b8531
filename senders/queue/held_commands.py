"""What budgets hold: how much, and what a person does with it. Nothing else lets a held command go."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import args_row
from psycopg.sql import SQL

from infra.postgres.columns import array_literal, statement
from schemas.budgets import Budget
from schemas.vocabulary import LedgerState, SuppressionReason
from senders.queue import transitions
from senders.queue.budget_windows import room_at, used
from senders.queue.transitions import StateChange

BATCH = 2_000
"""Commands in one transaction. Delivery goes on between two."""
AHEAD = timedelta(seconds=2)
"""A released command is due so much later: a worker that has read up to now must not miss it."""
_HELD = SQL("state = 'admitted' AND reason = 'budget'")
_COUNTED = statement(
    """SELECT detail, count(*), min(admitted_at), min(next_attempt_at) FROM ledger_queue
       WHERE {held} AND (%(partitions)s::int[] IS NULL OR partition = ANY(%(partitions)s)) GROUP BY detail""",
    held=_HELD,
)
_BUDGETS = """SELECT name, span, most, counts, held, held_at, clock_timestamp()
    FROM ledger_budgets ORDER BY name, span"""
_FOUND = statement(
    """SELECT command_id FROM ledger_queue WHERE {held} AND detail = %(name)s
       ORDER BY admitted_at, command_id LIMIT %(most)s""",
    held=_HELD,
)
_RELEASE = statement(
    """UPDATE ledger_queue SET next_attempt_at = clock_timestamp() + %(ahead)s, reason = NULL, detail = NULL
       WHERE command_id = ANY(%(ids)s::uuid[]) AND {held}""",
    held=_HELD,
)
_STATUSES = statement(
    """SELECT command_id, attempt, clock_timestamp() FROM ledger_queue
       WHERE command_id = ANY(%s::uuid[]) AND {held}""",
    held=_HELD,
)


@dataclass(frozen=True, slots=True)
class HeldCommands:
    """What a budget holds now: how many commands, since when the oldest, and when the first of them expires."""

    name: str
    count: int
    oldest_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One budget in one window, as delivery last counted it. `room_at` is when it has room for one more, if ever."""

    name: str
    window: str
    max: int
    used: int
    room_at: datetime | None
    held_in_all: int
    held_at: datetime | None


async def held(connection: AsyncConnection[Any], partitions: Collection[int] | None = None) -> dict[str, HeldCommands]:
    """What each budget holds now, by its name, of these partitions or of all. Reads the whole queue, unless no budget
    ever held a command."""
    asked = await connection.execute("SELECT EXISTS (SELECT FROM ledger_budgets WHERE held > 0)")
    [[any_held]] = await asked.fetchall()
    if not any_held:
        return {}
    cursor = connection.cursor(row_factory=args_row(HeldCommands))
    await cursor.execute(_COUNTED, {"partitions": None if partitions is None else list(partitions)})
    return {each.name: each async for each in cursor}


async def budgets(connection: AsyncConnection[Any]) -> list[BudgetStatus]:
    """Every budget that delivery has counted, by name and window."""
    cursor = await connection.execute(_BUDGETS)
    return [
        _status(budget_of(name, span, most), counts, held_in_all, held_at, now)
        async for name, span, most, counts, held_in_all, held_at, now in cursor
    ]


def _status(
    budget: Budget, counts: dict[str, int], held_in_all: int, held_at: datetime | None, now: datetime
) -> BudgetStatus:
    by_part = {int(part): count for part, count in counts.items()}
    return BudgetStatus(
        budget.name,
        budget.window,
        budget.max,
        used(budget, by_part, now),
        room_at(budget, by_part, now),
        held_in_all,
        held_at,
    )


def budget_of(name: str, span: str, most: int) -> Budget:
    """The budget of a row: the inverse of `Budget.window`."""
    if not span.startswith("calendar "):
        return Budget(name=name, max=most, per_ms=int(span.removesuffix("ms")))
    _, unit, zone = span.split(" ", 2)
    return Budget.model_validate({"name": name, "max": most, "unit": unit, "zone": zone})


async def find(connection: AsyncConnection[Any], name: str, most: int | None) -> list[str]:
    """The commands that a budget holds, the oldest first, at most so many."""
    cursor = await connection.execute(_FOUND, {"name": name, "most": most})
    return [key.hex async for (key,) in cursor]


async def release(connection: AsyncConnection[Any], ids: Sequence[str]) -> AsyncIterator[int]:
    """Makes held commands due, a batch in each transaction, whatever their budgets say; yields how many after each."""
    for start in range(0, len(ids), BATCH):
        batch = {"ids": array_literal("uuid", ids[start : start + BATCH]), "ahead": AHEAD}
        async with connection.transaction():
            released = await connection.execute(_RELEASE, batch)
        yield released.rowcount


async def discard(connection: AsyncConnection[Any], ids: Sequence[str], detail: str) -> AsyncIterator[int]:
    """Ends held commands as `suppressed`, a batch in each transaction; yields how many after each."""
    for start in range(0, len(ids), BATCH):
        async with connection.transaction():
            cursor = await connection.execute(_STATUSES, [array_literal("uuid", ids[start : start + BATCH])])
            changes = [
                StateChange(key.hex, attempt, LedgerState.SUPPRESSED, now, SuppressionReason.DISCARDED, detail)
                async for key, attempt, now in cursor
            ]
            ended = await transitions.settle(connection, changes) if changes else set()
        yield len(ended)
