"""Which worker may begin mails of a partition, and what follows when a worker is lost.

A worker takes a partition over in `ledger_partitions`, and only it may begin mails there. It renews its lease in
`ledger_workers`. As long as that runs, the mails that it began are its own, also those of partitions that it has lost:
who began a mail ends it. Once the lease has ended they are in doubt. All times are those of the database's clock.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from schemas.vocabulary import DeliveryReason

RENEWALS = 5
"""How often a lease is renewed while it lasts."""
WATCHED = 0.6
"""The part of a lease that a worker has renewed its own without a gap before it judges others: after an outage of the
database, each living worker renews first. A worker tries an absent database every five seconds at least."""
KEPT = timedelta(days=1)


async def renew(connection: AsyncConnection[Any], owner: str, lease: timedelta) -> bool:
    """Renew the lease of this worker. Returns whether it may put in doubt what other workers began."""
    cursor = await connection.execute(
        """INSERT INTO ledger_workers AS known (owner, lease_until, renewed_since)
           VALUES (%(owner)s, now() + %(lease)s, now())
           ON CONFLICT (owner) DO UPDATE SET lease_until = EXCLUDED.lease_until,
               renewed_since = CASE WHEN known.lease_until > now() THEN known.renewed_since ELSE now() END
           RETURNING renewed_since <= now() - %(watched)s::interval""",
        {"owner": owner, "lease": lease, "watched": lease * WATCHED},
    )
    row = await cursor.fetchone()
    assert row is not None, "an upsert without a condition returns its row"
    return bool(row[0])


async def end(connection: AsyncConnection[Any], owner: str) -> None:
    """End the lease of this worker, which begins and answers nothing any more."""
    await connection.execute("UPDATE ledger_workers SET lease_until = '-infinity' WHERE owner = %s", [owner])


async def take_over(connection: AsyncConnection[Any], partitions: Collection[int], owner: str) -> int:
    """Make this worker the owner of these partitions, if it is not. Returns how many had another owner.

    The owner before begins nothing there from now on. What it has begun stays its own.
    """
    await connection.execute("DELETE FROM ledger_workers WHERE lease_until < now() - %s::interval", [KEPT])
    cursor = await connection.execute(
        """INSERT INTO ledger_partitions AS known (partition, epoch, owner, taken_at)
           SELECT number, 1, %(owner)s, now() FROM unnest(%(partitions)s::int[]) AS number
           WHERE NOT EXISTS (SELECT FROM ledger_partitions AS p WHERE p.partition = number AND p.owner = %(owner)s)
           ORDER BY number
           ON CONFLICT (partition) DO UPDATE SET epoch = known.epoch + 1, owner = EXCLUDED.owner, taken_at = now()""",
        {"owner": owner, "partitions": list(partitions)},
    )
    return cursor.rowcount


async def mark_in_doubt(connection: AsyncConnection[Any], resend: Collection[str], *, may_judge: bool) -> int:
    """Put in doubt what workers without a lease began, in any partition, due again for the purposes in `resend`.

    Who may not judge does so only for workers that ended their lease themselves. Returns the number of commands.
    """
    cursor = await connection.execute(
        """UPDATE ledger SET state = 'in_doubt', state_at = now(), reason = %(reason)s, unpublished = true,
               next_attempt_at = CASE WHEN purpose = ANY(%(resend)s) THEN now() END
           WHERE state = 'started' AND NOT EXISTS (
               SELECT FROM ledger_workers AS w WHERE w.owner = ledger.owner
                   AND w.lease_until > CASE WHEN %(may_judge)s THEN now() ELSE '-infinity' END)""",
        {"reason": DeliveryReason.WORKER_LOST, "resend": list(resend), "may_judge": may_judge},
    )
    return cursor.rowcount
