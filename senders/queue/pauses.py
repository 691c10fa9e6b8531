"""Ledger rows that wait for the end of a pause."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from schemas.vocabulary import DeliveryReason


async def release(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    holding: Collection[str],
    now: datetime,
    limit: int,
) -> int:
    """Make at most `limit` paused commands due, except those that wait for a switch in `holding`. Returns how many."""
    cursor = await connection.execute(
        """UPDATE ledger SET next_attempt_at = %(now)s WHERE command_id IN (
             SELECT command_id FROM ledger
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
