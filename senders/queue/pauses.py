"""Ledger rows that people make due: those of a pause that ended, and deferred ones that are to be retried now."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from schemas.vocabulary import DeliveryReason, LedgerState


async def release(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    holding: Collection[str],
    now: datetime,
    limit: int,
) -> int:
    """Make at most `limit` paused commands due, except those that wait for a switch in `holding`. Returns how many."""
    cursor = await connection.execute(
        """UPDATE ledger_queue SET next_attempt_at = %(now)s WHERE command_id IN (
             SELECT command_id FROM ledger_queue
             WHERE next_attempt_at > %(now)s AND partition = ANY(%(partitions)s)
               AND reason = %(paused)s AND detail <> ALL(%(holding)s) LIMIT %(limit)s)""",
        {
            "now": now,
            "partitions": list(partitions),
            "paused": DeliveryReason.PAUSED,
            "holding": list(holding),
            "limit": limit,
        },
    )
    return cursor.rowcount


async def retry_now(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    trigger: str | None,
    purpose: str | None,
    now: datetime,
    limit: int,
) -> int:
    """Make at most `limit` deferred commands due, of one trigger or purpose if one is given. Returns how many."""
    cursor = await connection.execute(
        """UPDATE ledger_queue SET next_attempt_at = %(now)s WHERE command_id IN (
             SELECT command_id FROM ledger_queue
             WHERE next_attempt_at > %(now)s AND partition = ANY(%(partitions)s)
               AND state = %(deferred)s AND reason IS DISTINCT FROM %(paused)s
               AND (%(trigger)s::text IS NULL OR trigger = %(trigger)s)
               AND (%(purpose)s::text IS NULL OR purpose = %(purpose)s) LIMIT %(limit)s)""",
        {
            "now": now,
            "partitions": list(partitions),
            "deferred": LedgerState.DEFERRED,
            "paused": DeliveryReason.PAUSED,
            "trigger": trigger,
            "purpose": purpose,
            "limit": limit,
        },
    )
    return cursor.rowcount
