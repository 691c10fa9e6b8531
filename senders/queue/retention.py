"""The ledger's partitions: made some days ahead, and dropped once their rows are older than any replay."""

from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection, Connection

RETENTION = timedelta(days=35)
"""Longer than any topic that can be replayed, so that a command replayed is always known."""
AHEAD = timedelta(days=7)
"""How long delivery may stand still before it starts without partitions; a start makes them first."""

_ADD = """SELECT ledger_add_partitions((now() AT TIME ZONE 'UTC')::date - 1,
                                       ((now() + %s::interval) AT TIME ZONE 'UTC')::date)"""
_DROP_PATHS = "DELETE FROM ledger_paths WHERE used_on < ((now() - %s::interval) AT TIME ZONE 'UTC')::date - 1"
_DROP = "SELECT partition_name, problem FROM ledger_drop_partitions(((now() - %s::interval) AT TIME ZONE 'UTC')::date)"


def add_partitions(connection: Connection[Any]) -> None:
    """Make the partitions of these days that are missing."""
    connection.execute(_ADD, [AHEAD])


async def keep_partitions(connection: AsyncConnection[Any]) -> dict[str, str | None]:
    """Make partitions and drop old ones. Returns the old ones, each with the problem if it could not be dropped.

    A drop has to wait until no other session uses the table, and holds everybody up meanwhile; so it waits one second,
    and is tried again the next time.
    """
    await connection.execute(_ADD, [AHEAD])
    await connection.execute(_DROP_PATHS, [RETENTION])
    await connection.execute("SET LOCAL lock_timeout = '1s'")
    cursor = await connection.execute(_DROP, [RETENTION])
    return {name: problem async for name, problem in cursor}
