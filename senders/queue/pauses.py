"""Ledger rows that are made due: those of a pause or a limit that is over, and those that people want retried now."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from schemas.vocabulary import DeliveryReason, LedgerState


@dataclass(frozen=True, slots=True)
class ReleasePlace:
    """How far the waiting commands of a partition have been looked at, in the order of the queue's index."""

    priority: int
    due_at: datetime


BEGINNING = ReleasePlace(-(2**15), datetime(1970, 1, 1, tzinfo=UTC))


async def release(
    connection: AsyncConnection[Any],
    partition: int,
    since: ReleasePlace,
    reason: DeliveryReason,
    holding: Collection[str],
    now: datetime,
    limit: int,
) -> tuple[int, ReleasePlace]:
    """Make at most `limit` commands due that wait for this reason, except those with a detail in `holding`.

    Returns how many, and where to look on: what lies before is not read again.
    """
    cursor = await connection.execute(
        """WITH found AS MATERIALIZED (
             SELECT command_id, priority, next_attempt_at FROM ledger_queue
             WHERE partition = %(partition)s AND (priority, next_attempt_at) >= (%(priority)s::smallint, %(since)s)
               AND next_attempt_at > %(now)s AND reason = %(reason)s AND detail <> ALL(%(holding)s)
             ORDER BY priority, next_attempt_at LIMIT %(limit)s
           ), due AS (
             UPDATE ledger_queue AS q SET next_attempt_at = %(now)s FROM found WHERE q.command_id = found.command_id
           )
           SELECT priority, next_attempt_at, count(*) OVER () FROM found
           ORDER BY priority DESC, next_attempt_at DESC LIMIT 1""",
        {
            "partition": partition,
            "priority": since.priority,
            "since": since.due_at,
            "now": now,
            "reason": reason,
            "holding": list(holding),
            "limit": limit,
        },
    )
    last = await cursor.fetchone()
    return (0, since) if last is None else (int(last[2]), ReleasePlace(last[0], last[1]))


async def retry_now(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    trigger: str | None,
    purpose: str | None,
    now: datetime,
    limit: int,
    way: tuple[str, str] | None = None,
) -> int:
    """Make at most `limit` commands due that are deferred or wait for a limit, of a trigger or purpose if one is given.

    A purpose is that of every brand too. Those in a line for their turn stay where they are. With a `way`, such as
    `("provider", "google")`, only those whose last attempt took it, or whose limit names it. Returns how many.
    """
    cursor = await connection.execute(
        """UPDATE ledger_queue SET next_attempt_at = %(now)s WHERE command_id IN (
             SELECT command_id FROM ledger_queue AS q
             WHERE next_attempt_at > %(now)s AND partition = ANY(%(partitions)s)
               AND (state = %(deferred)s AND reason IS DISTINCT FROM %(paused)s OR reason = %(limited)s)
               AND behind IS NULL
               AND (%(way)s::text IS NULL OR (reason = %(limited)s AND strpos(detail, %(name)s) > 0) OR EXISTS (
                   SELECT FROM ledger_paths AS p
                   WHERE p.number = q.path
                     AND CASE %(way)s WHEN 'site' THEN coalesce(p.path::json ->> 'site', p.path::json ->> 'host')
                                      ELSE p.path::json ->> %(way)s END = %(name)s))
               AND (%(trigger)s::text IS NULL OR trigger = %(trigger)s)
               AND (%(purpose)s::text IS NULL OR purpose IN (%(purpose)s, brand || '/' || %(purpose)s))
             LIMIT %(limit)s)""",
        {
            "now": now,
            "partitions": list(partitions),
            "deferred": LedgerState.DEFERRED,
            "paused": DeliveryReason.PAUSED,
            "limited": DeliveryReason.LIMITED,
            "trigger": trigger,
            "purpose": purpose,
            "limit": limit,
            "way": None if way is None else way[0],
            "name": None if way is None else way[1],
        },
    )
    return cursor.rowcount
