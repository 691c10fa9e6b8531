"""The table `webhook_suspensions`: endpoints that get no webhook now. All workers share it, and its clock."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import args_row

FIRST = timedelta(minutes=1)
LONGEST = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Suspension:
    """An endpoint that gets no webhook until a time; None: until a person lifts it, or its URL changes."""

    endpoint: str
    url_hash: bytes
    reason: str
    times: int
    """How often in a row it was suspended."""
    since: datetime
    until: datetime | None

    @property
    def gone(self) -> bool:
        """Whether it does not end by itself."""
        return self.until is None


@dataclass(frozen=True, slots=True)
class NewSuspension:
    """A worker's finding that an endpoint is to be suspended."""

    endpoint: str
    url_hash: bytes
    reason: str
    gone: bool = False


def url_hash(url: str) -> bytes:
    """What tells one URL of an endpoint from another."""
    return hashlib.blake2b(url.encode(), digest_size=16).digest()


async def read(connection: AsyncConnection[Any]) -> list[Suspension]:
    """All suspensions, also those whose time is over: they say how often there was one in a row."""
    cursor = connection.cursor(row_factory=args_row(Suspension))
    await cursor.execute(
        """SELECT endpoint, url_hash, reason, times, since, nullif(until, 'infinity') FROM webhook_suspensions
           ORDER BY endpoint"""
    )
    return await cursor.fetchall()


async def suspend(connection: AsyncConnection[Any], found: Collection[NewSuspension]) -> None:
    """Suspend endpoints: each time in a row for twice as long. Findings of several workers at once are one."""
    for each in found:
        await connection.execute(
            """INSERT INTO webhook_suspensions AS known (endpoint, url_hash, reason, times, since, until)
               VALUES (%(endpoint)s, %(url_hash)s, %(reason)s, 1, now(),
                       CASE WHEN %(gone)s THEN 'infinity' ELSE now() + %(first)s END)
               ON CONFLICT (endpoint) DO UPDATE SET url_hash = excluded.url_hash, reason = excluded.reason,
                   since = now(),
                   times = CASE WHEN known.url_hash = excluded.url_hash THEN known.times + 1 ELSE 1 END,
                   until = CASE WHEN %(gone)s THEN 'infinity'
                                WHEN known.url_hash = excluded.url_hash
                                THEN now() + least(%(first)s * (2 ^ least(known.times, 20)), %(longest)s)
                                ELSE now() + %(first)s END
               WHERE known.url_hash <> excluded.url_hash OR known.until <= now() OR %(gone)s""",
            {
                "endpoint": each.endpoint,
                "url_hash": each.url_hash,
                "reason": each.reason,
                "gone": each.gone,
                "first": FIRST,
                "longest": LONGEST,
            },
        )


async def lift(connection: AsyncConnection[Any], endpoints: Collection[str]) -> list[str]:
    """End suspensions. Returns the endpoints that had one."""
    cursor = await connection.execute(
        "DELETE FROM webhook_suspensions WHERE endpoint = ANY(%s::text[]) RETURNING endpoint", [list(endpoints)]
    )
    return [endpoint async for (endpoint,) in cursor]
