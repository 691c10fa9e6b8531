"""The tables `rate_workers` and `rate_shares`, in which workers tell each other what they take of each key's limit.

A worker has a lease by the server's clock. The rows of one whose lease has ended are deleted: it is gone.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from infra.postgres.columns import RowArrays, statement
from web.keys.shares import Share

LEASE = timedelta(seconds=5)
LOCK = 7_306_119
"""The advisory lock of who exchanges shares: an arbitrary number, the same in every version."""

_BEGIN = f"""SET LOCAL idle_in_transaction_session_timeout = '2s';
             SELECT pg_advisory_xact_lock({LOCK})"""  # who stands still with the lock makes nobody wait for longer
_EXPIRE = "DELETE FROM rate_workers WHERE lease_until < clock_timestamp() AND worker <> %s"
_RENEW = """INSERT INTO rate_workers (worker, lease_until) VALUES (%s, clock_timestamp() + %s)
            ON CONFLICT (worker) DO UPDATE SET lease_until = excluded.lease_until"""
_LOOK = """SELECT key_id, worker, wanted, share, share_before,
                  extract(epoch FROM clock_timestamp() - changed_at)::double precision, largest
           FROM rate_shares"""

_NamedShare = tuple[str, Share]
_ROWS: RowArrays[_NamedShare] = RowArrays(
    key_id=("text", lambda row: row[0]),
    wanted=("int", lambda row: row[1].wanted),
    share=("int", lambda row: row[1].events),
    share_before=("int", lambda row: row[1].before),
    largest=("int", lambda row: row[1].largest),
)
_WRITE = statement(
    """INSERT INTO rate_shares AS held (key_id, worker, wanted, share, share_before, largest, changed_at)
       SELECT key_id, %(worker)s, wanted, share, share_before, largest, clock_timestamp() FROM {rows}
       ON CONFLICT (key_id, worker) DO UPDATE SET
           wanted = excluded.wanted,
           share = excluded.share,
           share_before = excluded.share_before,
           largest = excluded.largest,
           changed_at = CASE WHEN held.share = excluded.share THEN held.changed_at ELSE excluded.changed_at END""",
    rows=_ROWS.unnest("new"),
)
_LEAVE = """UPDATE rate_shares SET wanted = 0, share = 0, share_before = greatest(share, share_before),
                   changed_at = clock_timestamp()
            WHERE worker = %s"""


async def look(connection: AsyncConnection[Any], worker: str) -> dict[str, dict[str, Share]]:
    """The shares of all workers, by key and worker. Renews the worker's lease, and others wait for the commit."""
    await connection.execute(_BEGIN)
    await connection.execute(_EXPIRE, [worker])
    await connection.execute(_RENEW, [worker, LEASE])
    found: dict[str, dict[str, Share]] = defaultdict(dict)
    async for key_id, name, *columns in await connection.execute(_LOOK):
        found[key_id][name] = Share(*columns)
    return found


async def write(connection: AsyncConnection[Any], worker: str, shares: Mapping[str, Share]) -> None:
    """Keep what a worker takes of these keys from now on."""
    await connection.execute(_WRITE, {"worker": worker} | _ROWS.parameters(list(shares.items())))


async def leave(connection: AsyncConnection[Any], worker: str) -> None:
    """Give back all that a worker holds. Its rows go when its lease ends."""
    await connection.execute(_LEAVE, [worker])
