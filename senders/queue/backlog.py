"""How much waits in the ledger, by partition, for gauges.

A look reads the whole queue, which has no index for this, and sorts what it counts. So its cost grows with the queue,
and `senders.monitoring.gauges` waits the longer the longer a look takes.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import SQL

from infra.postgres.columns import statement

COUNTED = 100_000
"""At most so many rows are counted in each query. This bounds what is sorted and counted, not what is read."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in one partition."""

    due: int = 0
    """Commands whose time has come."""
    waiting: int = 0
    """Commands whose time comes later."""
    oldest_due: datetime | None = None
    outbox: int = 0
    """Outcomes that are not published yet."""
    in_doubt: int = 0
    """Commands that were handed over and whose answer is unknown."""


_WAITING = """SELECT partition, count(*) FILTER (WHERE next_attempt_at <= %(now)s),
           count(*) FILTER (WHERE next_attempt_at > %(now)s),
           min(next_attempt_at) FILTER (WHERE next_attempt_at <= %(now)s)
    FROM (SELECT partition, next_attempt_at FROM ledger_queue
          WHERE next_attempt_at IS NOT NULL AND state <> 'started' AND partition = ANY(%(partitions)s)
          ORDER BY next_attempt_at LIMIT %(limit)s) AS soonest
    GROUP BY partition"""
_COUNT = """SELECT partition, count(*) FROM (SELECT partition FROM {table}
             WHERE {condition} AND partition = ANY(%s) LIMIT %s) AS counted GROUP BY partition"""
_OUTBOX = statement(_COUNT, table=SQL("ledger_outbox"), condition=SQL("true"))
_IN_DOUBT = statement(_COUNT, table=SQL("ledger_queue"), condition=SQL("state = 'in_doubt'"))


async def read_backlog(
    connection: AsyncConnection[Any], partitions: Collection[int], now: datetime
) -> dict[int, Backlog]:
    """The backlog of each of these partitions. Of more than COUNTED commands, those that are due first count."""
    found = dict.fromkeys(partitions, Backlog())
    parameters = {"now": now, "partitions": list(partitions), "limit": COUNTED}
    cursor = await connection.execute(_WAITING, parameters)
    async for partition, due, waiting, oldest_due in cursor:
        found[partition] = Backlog(due, waiting, oldest_due)
    async for partition, outbox in await connection.execute(_OUTBOX, [list(partitions), COUNTED]):
        found[partition] = replace(found[partition], outbox=outbox)
    async for partition, in_doubt in await connection.execute(_IN_DOUBT, [list(partitions), COUNTED]):
        found[partition] = replace(found[partition], in_doubt=in_doubt)
    return found
