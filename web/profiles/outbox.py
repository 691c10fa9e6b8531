"""The outbox: users whose profile is to be published, and events of visitors for their users, in their order. What an
import changed comes last.

One process at a time publishes it. It holds a lease, which another one may take once it has not been renewed.

Batches have numbers, which are durable before the batch is published. So a record with a higher number than the table
has is from a time that the store has lost: it was set back, as by a restored backup. The follower takes such records
in (web.profiles.follower). So that their numbers are not used again before, nothing is published until the follower has
been at the end of each partition after the process took over, or after it found another number than its last.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import args_row

LEASE_S = 5.0
"""How soon another process takes over after the death of the one that publishes."""
FRESH_S = 10.0
"""How long ago the follower of `profiles` may have been at the end of each partition: as long as a rebalance takes
after the death of a process."""

_LEASE = b"""WITH free AS (
        SELECT ctid FROM web_publisher WHERE owner = %(owner)s OR ends_at < clock_timestamp() FOR UPDATE SKIP LOCKED
    ) UPDATE web_publisher AS w SET owner = %(owner)s, ends_at = clock_timestamp() + make_interval(secs => %(lease_s)s),
        since = CASE WHEN (w.owner, w.publication) = (%(owner)s, %(last)s::bigint) THEN w.since
                     ELSE clock_timestamp() END
    FROM free WHERE w.ctid = free.ctid RETURNING w.publication"""
_CAUGHT_UP = b"""SELECT count(*) >= %(partitions)s FROM web_progress
    WHERE reader = 'profiles' AND caught_up > greatest(clock_timestamp() - make_interval(secs => %(fresh_s)s),
                                                       (SELECT since FROM web_publisher))"""
_NEXT = b"""SELECT o.number, o.user_id, o.event, o.anonymous_id, p.version, p.state::text
    FROM (SELECT * FROM web_outbox ORDER BY bulk, number LIMIT %(limit)s) AS o
    LEFT JOIN profiles AS p ON o.event IS NULL AND p.user_id = o.user_id AND p.version > 0
    ORDER BY o.bulk, o.number"""
_COUNT = b"UPDATE web_publisher SET publication = publication + 1 RETURNING publication"


class OutboxEntry(NamedTuple):
    """What is to be published: an event, or the profile of a user as it is now; without a state the user is gone."""

    number: int
    user_id: str
    event: bytes | None
    anonymous_id: str | None
    version: int | None
    state: str | None


class OutboxBatch(NamedTuple):
    """The oldest entries, and the number of their publication; without entries, that of the last one."""

    publication: int
    entries: list[OutboxEntry]


async def next_batch(
    connection: AsyncConnection[Any], owner: str, partitions: int, limit: int, last: int | None
) -> OutboxBatch | None:
    """What the owner may publish for LEASE_S; None if another process holds the lease.

    Empty while the follower is behind. `last` is the number that the owner was given last, None before the first.
    """
    cursor = await connection.execute(_LEASE, {"owner": owner, "lease_s": LEASE_S, "last": last})
    leased = await cursor.fetchone()
    if leased is None:
        return None
    cursor = await connection.execute(_CAUGHT_UP, {"partitions": partitions, "fresh_s": FRESH_S})
    [[caught_up]] = await cursor.fetchall()
    entries = await _entries(connection, limit) if caught_up else []
    if not entries:
        return OutboxBatch(leased[0], [])
    cursor = await connection.execute(_COUNT)
    [[publication]] = await cursor.fetchall()
    return OutboxBatch(publication, entries)


async def _entries(connection: AsyncConnection[Any], limit: int) -> list[OutboxEntry]:
    cursor = connection.cursor(row_factory=args_row(OutboxEntry))
    await cursor.execute(_NEXT, {"limit": limit})
    return await cursor.fetchall()


async def remove(connection: AsyncConnection[Any], numbers: Sequence[int]) -> None:
    """Take out entries that are published."""
    await connection.execute("DELETE FROM web_outbox WHERE number = ANY(%s)", [numbers])
