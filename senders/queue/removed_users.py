"""Users who were removed, and the end of what waits of them.

A removal is one row, whatever waits: the queue has no index by user, which every mail would pay for. Policy asks for
the row wherever a command is taken and wherever its mail begins, so a removal is in effect at once. Rows that wait for
longer are found by reading the queue part by part (`senders.queue.removal_sweep`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, Connection

from infra.postgres.columns import statement
from schemas.vocabulary import LedgerState, SuppressionReason
from senders.queue.journal import JOURNAL
from senders.queue.retention import RETENTION

MARGIN = timedelta(minutes=1)
"""A removal is noted by the time at which its transaction began, and that may end after a sweep began."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A reading of the queue: when it began, and how many blocks the queue had then."""

    at: datetime
    blocks: int


_NOTE = """INSERT INTO removed_users (user_id, removed_at)
    SELECT * FROM unnest(%s::text[], %s::timestamptz[]) ORDER BY 1
    ON CONFLICT (user_id) DO UPDATE SET removed_at = EXCLUDED.removed_at, noted_at = EXCLUDED.noted_at
        WHERE removed_users.removed_at < EXCLUDED.removed_at"""
_BEGIN = """SELECT clock_timestamp(), pg_relation_size('ledger_queue') / current_setting('block_size')::bigint
    WHERE EXISTS (SELECT FROM removed_users
                  WHERE %(since)s::timestamptz IS NULL OR noted_at > %(since)s::timestamptz - %(margin)s::interval)"""
_END = statement(
    """WITH moved AS (
           DELETE FROM ledger_queue AS q
           WHERE q.ctid >= %(first)s::tid AND q.ctid < %(end)s::tid AND q.state IN ('admitted', 'deferred')
             AND q.decided_at <= (SELECT removed_at FROM removed_users AS r WHERE r.user_id = q.user_id)
           RETURNING {of_row}, %(state)s AS state, %(reason)s AS reason, NULL AS detail, now() AS state_at,
                     NULL AS reply, false AS hard, NULL AS classifier_hash, NULL::integer AS path
       ) {journal}""",
    **JOURNAL,
)
"""The inner query is one step in an index for each row that waits, however many users were removed."""


def note(connection: Connection[Any], removed: Mapping[str, datetime]) -> None:
    """Note that these users were removed, each up to an instant."""
    if removed:
        connection.execute(_NOTE, [list(removed), list(removed.values())])


async def begin_sweep(connection: AsyncConnection[Any], since: datetime | None) -> Sweep | None:
    """A new reading of the queue; None if nobody was removed since the one that began then, or at all."""
    cursor = await connection.execute(_BEGIN, {"since": since, "margin": MARGIN})
    row = await cursor.fetchone()
    return None if row is None else Sweep(*row)


async def end_waiting(connection: AsyncConnection[Any], first: int, end: int) -> int:
    """End what waits of removed users in these blocks of the queue, as `no_recipient`. Returns how many ended.

    This includes commands with an address of their own. A command decided after the removal is not touched.
    """
    cursor = await connection.execute(
        _END,
        {
            "first": f"({first},0)",
            "end": f"({end},0)",
            "state": LedgerState.SUPPRESSED,
            "reason": SuppressionReason.NO_RECIPIENT,
        },
    )
    return cursor.rowcount


async def forget(connection: AsyncConnection[Any]) -> None:
    """Forget removals that are older than any command that can come."""
    await connection.execute("DELETE FROM removed_users WHERE noted_at < now() - %s::interval", [RETENTION])
