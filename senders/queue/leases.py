"""Which worker may begin mails of a partition, and what follows when a worker is lost.

A worker takes a partition over in `ledger_partitions`, and only it may begin mails there. It renews its lease in
`ledger_workers`. As long as that runs, the mails that it began are its own, also those of partitions that it has lost:
who began a mail ends it. Once the lease has ended they are in doubt. All times are those of the database's clock.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from infra.postgres.columns import statement
from schemas.vocabulary import DeliveryReason
from senders.queue.journal import JOURNAL

RENEWALS = 5
"""How often a lease is renewed while it lasts."""
WATCHED = 0.6
"""The part of a lease that a worker has renewed its own without a gap before it judges others: after an outage of the
database, each living worker renews first. A worker tries an absent database every five seconds at least."""


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
    cursor = await connection.execute(
        """INSERT INTO ledger_partitions AS known (partition, epoch, owner, taken_at)
           SELECT number, 1, %(owner)s, now() FROM unnest(%(partitions)s::int[]) AS number
           WHERE NOT EXISTS (SELECT FROM ledger_partitions AS p WHERE p.partition = number AND p.owner = %(owner)s)
           ORDER BY number
           ON CONFLICT (partition) DO UPDATE SET epoch = known.epoch + 1, owner = EXCLUDED.owner, taken_at = now()""",
        {"owner": owner, "partitions": list(partitions)},
    )
    return cursor.rowcount


_JUDGED = "DELETE FROM ledger_workers WHERE lease_until <= CASE WHEN %s THEN now() ELSE '-infinity' END RETURNING owner"
_IN_DOUBT = statement(
    """WITH moved AS (
           UPDATE ledger_queue AS q SET state = 'in_doubt', state_at = now(), reason = %(reason)s,
               next_attempt_at = CASE WHEN purpose = ANY(%(resend)s) THEN now() END
           WHERE state = 'started' AND coalesce(owner, '') = ANY(%(owners)s)
           RETURNING {of_row}, q.state, q.reason, q.detail, q.state_at, q.reply, q.hard, q.classifier_hash
       ) {journal}""",
    **JOURNAL,
)


async def mark_in_doubt(connection: AsyncConnection[Any], resend: Collection[str], *, may_judge: bool) -> int:
    """Put in doubt what workers whose lease has ended began, in any partition, due again for the purposes in `resend`.

    Who may not judge does so only for workers that ended their lease themselves. Returns the number of commands. Each
    worker is judged once: without a lease it begins nothing, and a new lease is a new row.
    """
    dead = [owner async for (owner,) in await connection.execute(_JUDGED, [may_judge])]
    if not dead:
        return 0
    parameters = {"reason": DeliveryReason.WORKER_LOST, "resend": list(resend), "owners": dead}
    return (await connection.execute(_IN_DOUBT, parameters)).rowcount
