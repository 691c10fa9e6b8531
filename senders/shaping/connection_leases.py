"""Connections that all workers count together: a connection has a slot of each of its limits, under a lease.

A worker renews its leases; those of one that died or froze run out after LEASE_S. Who could not renew in time asks
which leases are still its own, and closes the connections of the others. A worker that finds no slot free says that it
wants one; the answer to a renewal tells the holders, who share. Times are the server's.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

LEASE_S = 10.0
RENEW_S = 3.0
"""Two renewals may fail before a lease runs out."""
WANTED_S = 5.0
"""How long a wish holds: more than a renewal, and than the pause between two wishes of a worker that still waits."""


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """So many connections of a limit; `limit` is the most that all workers may have together."""

    name: str
    limit: int
    count: int


@dataclass(frozen=True, slots=True, order=True)
class ConnectionLease:
    """One slot of a limit."""

    name: str
    slot: int


_ACQUIRE = """
WITH asked AS (
    SELECT * FROM unnest(%(names)s::text[], %(limits)s::int[], %(counts)s::int[]) AS row (name, most, count)
), free AS (
    SELECT asked.name, found.slot FROM asked CROSS JOIN LATERAL (
        SELECT slot FROM generate_series(1, asked.most) AS slot
        WHERE NOT EXISTS (SELECT FROM connection_leases AS held WHERE held.name = asked.name AND held.slot = slot.slot
                          AND held.lease_until > clock_timestamp())
        LIMIT asked.count
    ) AS found
)
INSERT INTO connection_leases AS held (name, slot, owner, lease_until)
SELECT name, slot, %(owner)s, clock_timestamp() + %(lease)s * interval '1 s' FROM free ORDER BY name, slot
ON CONFLICT (name, slot) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until,
    wanted_until = '-infinity'
WHERE held.lease_until <= clock_timestamp()
RETURNING name, slot
"""
_RENEW = """
UPDATE connection_leases AS held SET lease_until = clock_timestamp() + %(lease)s * interval '1 s'
FROM (SELECT * FROM unnest(%(names)s::text[], %(slots)s::int[], %(limits)s::int[]) AS row (name, slot, most)
      ORDER BY name, slot) AS asked
WHERE held.name = asked.name AND held.slot = asked.slot AND held.owner = %(owner)s AND asked.slot <= asked.most
    AND held.lease_until > clock_timestamp()
RETURNING held.name, held.slot, held.wanted_until > clock_timestamp()
"""
_WANT = """
UPDATE connection_leases SET wanted_until = clock_timestamp() + %(wanted)s * interval '1 s'
WHERE name = ANY(%(names)s) AND owner <> %(owner)s
"""
_RELEASE = """
DELETE FROM connection_leases AS held USING unnest(%(names)s::text[], %(slots)s::int[]) AS row (name, slot)
WHERE held.name = row.name AND held.slot = row.slot AND held.owner = %(owner)s
"""


async def acquire(
    connection: AsyncConnection[Any], owner: str, requests: Sequence[LeaseRequest]
) -> list[ConnectionLease]:
    """As many of the slots as are free. A slot that another worker takes at the same moment is left to it."""
    values = {
        "names": [each.name for each in requests],
        "limits": [each.limit for each in requests],
        "counts": [each.count for each in requests],
        "owner": owner,
        "lease": LEASE_S,
    }
    cursor = await connection.execute(_ACQUIRE, values)
    return [ConnectionLease(*row) async for row in cursor]


async def want(connection: AsyncConnection[Any], owner: str, names: Collection[str]) -> None:
    """Says that a worker waits for a slot of these limits."""
    await connection.execute(_WANT, {"names": sorted(names), "owner": owner, "wanted": WANTED_S})


async def renew(
    connection: AsyncConnection[Any], owner: str, leases: Collection[tuple[ConnectionLease, int]]
) -> dict[ConnectionLease, bool]:
    """Renews leases, each with the limit as it is now. Says of each whether another worker wants a slot of its limit.

    Those not returned are lost, or beyond a limit that fell.
    """
    values = {
        "names": [lease.name for lease, _ in leases],
        "slots": [lease.slot for lease, _ in leases],
        "limits": [limit for _, limit in leases],
        "owner": owner,
        "lease": LEASE_S,
    }
    cursor = await connection.execute(_RENEW, values)
    return {ConnectionLease(name, slot): wanted async for name, slot, wanted in cursor}


async def release(connection: AsyncConnection[Any], owner: str, leases: Collection[ConnectionLease]) -> None:
    """Gives slots back."""
    values = {"names": [each.name for each in leases], "slots": [each.slot for each in leases], "owner": owner}
    await connection.execute(_RELEASE, values)
