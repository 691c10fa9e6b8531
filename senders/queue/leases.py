"""Which worker may begin mails of a partition, and what follows when a worker is lost.

A worker takes a partition over in `ledger_partitions`, and only it may begin mails there. It renews its lease in
`ledger_workers`. As long as that runs, the mails that it began are its own, also those of partitions that it has lost:
the worker that began a mail ends it. Once the lease has ended they are in doubt. All times are those of the database's
clock.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import Literal

from infra.postgres.columns import statement
from schemas.endpoints import WEBHOOK
from schemas.vocabulary import DeliveryReason
from senders.queue.journal import JOURNAL

RENEWALS = 5
"""How often a lease is renewed while it lasts."""
WATCHED = 0.6
"""The part of a lease that a worker has renewed its own without a gap before it judges others: after an outage of the
database, each living worker renews first. A worker tries an absent database every five seconds at least."""


BLOCKS = 8192
"""How much of the queue one transaction searches for what lost workers began: 64 MiB, less than a second of work."""


@dataclass(frozen=True, slots=True)
class LostWorkers:
    """Workers whose lease has ended, and how far the queue has been searched for what they began.

    The queue has no index by owner or state, which every mail would pay for; so it is searched block by block. A row
    that a lost worker began stays in its block: nobody else changes it.
    """

    leases: Mapping[str, str]
    """When the lease of each ended. A worker that has woken up has another."""
    blocks: int
    searched: int = 0


async def renew(connection: AsyncConnection[Any], owner: str, lease: timedelta) -> None:
    """Renew the lease of this worker."""
    await connection.execute(
        """INSERT INTO ledger_workers AS known (owner, lease_until, renewed_since)
           VALUES (%(owner)s, now() + %(lease)s, now())
           ON CONFLICT (owner) DO UPDATE SET lease_until = EXCLUDED.lease_until,
               renewed_since = CASE WHEN known.lease_until > now() THEN known.renewed_since ELSE now() END""",
        {"owner": owner, "lease": lease},
    )


async def end(connection: AsyncConnection[Any], owner: str) -> None:
    """End the lease of this worker, which begins and answers nothing any more."""
    await connection.execute("UPDATE ledger_workers SET lease_until = '-infinity' WHERE owner = %s", [owner])


async def take_over(connection: AsyncConnection[Any], partitions: Collection[int], owner: str) -> int:
    """Make this worker the owner of these partitions, if it is not. Returns how many were new to it.

    The owner before begins nothing there from now on. What it has begun stays its own.
    """
    cursor = await connection.execute(
        """INSERT INTO ledger_partitions AS known (partition, epoch, owner, taken_at)
           SELECT number, 1, %(owner)s, now() FROM unnest(%(partitions)s::int[]) AS number
           WHERE NOT EXISTS (SELECT FROM ledger_partitions AS p WHERE p.partition = number AND p.owner = %(owner)s)
           ORDER BY number
           ON CONFLICT (partition) DO UPDATE SET epoch = known.epoch + 1, owner = EXCLUDED.owner, taken_at = now()""",
        {"owner": owner, "partitions": list(partitions)},
    )
    return cursor.rowcount


_LOST = """SELECT owner, lease_until::text FROM ledger_workers
    WHERE lease_until <= CASE WHEN EXISTS (
        SELECT FROM ledger_workers AS ours
        WHERE ours.owner = %(owner)s AND ours.lease_until > now() + %(watched)s::interval
          AND ours.renewed_since <= now() - %(watched)s::interval
    ) THEN now() ELSE '-infinity' END
    ORDER BY owner FOR UPDATE SKIP LOCKED"""
_STILL_LOST = """SELECT owner FROM ledger_workers AS w
    JOIN unnest(%(owners)s::text[], %(until)s::timestamptz[]) AS lost (name, until)
      ON w.owner = lost.name AND w.lease_until = lost.until
    ORDER BY owner FOR UPDATE OF w"""
_IN_DOUBT = statement(
    """WITH moved AS (
           UPDATE ledger_queue AS q SET state = 'in_doubt', state_at = now(), reason = %(reason)s,
               behind = NULL,
               next_attempt_at = CASE WHEN purpose = ANY(%(resend)s) OR channel = {webhook} THEN now() END
           WHERE q.ctid >= %(first)s::tid AND q.ctid < %(end)s::tid
             AND state = 'started' AND coalesce(owner, '') = ANY(%(owners)s)
           RETURNING {of_row}, q.state, q.reason, q.detail, q.state_at, q.reply, q.hard, q.classifier_hash,
                     NULL::integer AS path
       ) {journal}""",
    webhook=Literal(WEBHOOK),
    **JOURNAL,
)


async def lost_workers(connection: AsyncConnection[Any], owner: str, lease: timedelta) -> LostWorkers | None:
    """The workers whose lease has ended; None if there is none.

    A worker that has not renewed its own lease for long enough, or not just now, finds only those that ended their
    lease themselves. A worker whose begin is being written, or that another worker judges at this moment, is left out.
    """
    cursor = await connection.execute(_LOST, {"owner": owner, "watched": lease * WATCHED})
    found = {lost: until async for lost, until in cursor}
    if not found:
        return None
    cursor = await connection.execute("SELECT pg_relation_size('ledger_queue') / current_setting('block_size')::bigint")
    row = await cursor.fetchone()
    assert row is not None, "a query without a table returns a row"
    return LostWorkers(found, int(row[0]))


async def mark_in_doubt(
    connection: AsyncConnection[Any], lost: LostWorkers, resend: Collection[str]
) -> tuple[int, LostWorkers | None]:
    """Put in doubt what these workers began in the next part of the queue, due again for the purposes in `resend`.

    Webhooks are due again too: their receivers know a repeat by its id.

    Returns the number of commands, and what is left to do; None if nothing is, and then each worker is judged: without
    a lease it begins nothing, and a new lease is a new row. One that renewed its lease meanwhile is left alone.
    """
    cursor = await connection.execute(_STILL_LOST, {"owners": list(lost.leases), "until": list(lost.leases.values())})
    owners = [owner async for (owner,) in cursor]
    if not owners:
        return 0, None
    end = lost.searched + BLOCKS
    cursor = await connection.execute(
        _IN_DOUBT,
        {
            "reason": DeliveryReason.WORKER_LOST,
            "resend": list(resend),
            "owners": owners,
            "first": f"({lost.searched},0)",
            "end": f"({end},0)",
        },
    )
    in_doubt = cursor.rowcount
    if end < lost.blocks:
        return in_doubt, LostWorkers({owner: lost.leases[owner] for owner in owners}, lost.blocks, end)
    await connection.execute("DELETE FROM ledger_workers WHERE owner = ANY(%s)", [owners])
    return in_doubt, None
