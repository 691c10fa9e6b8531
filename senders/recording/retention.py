"""Drops what is older than analysts keep it. Rollups by day are never dropped.

`drop_chunks` is in both editions of TimescaleDB. The policies of the Community edition do the same for the rows by
themselves, and know nothing of `mails` and of rollups by hour.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from senders.recording import counting, mails, tables
from senders.recording.hypertables import ALL

ROWS = timedelta(days=730)
HOURS = timedelta(days=1_095)
MAILS_LONGER = timedelta(days=365)
"""A mail is known so much longer than its rows: what its reader does as late as that still counts once."""
_AT_ONCE = 50_000
_BY_HOUR = (counting.DECISIONS, counting.DELIVERIES, counting.ENGAGEMENT, counting.GOALS, mails.MAILS, mails.DELAYS)
_OLD_MAILS = """DELETE FROM mails WHERE command IN (
    SELECT command FROM mails WHERE sent < %s AND sent >= '1970-01-02Z' LIMIT %s)"""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was dropped: chunks of each hypertable, rows of `mails` and of the rollups by hour."""

    chunks: dict[str, int]
    mails: int
    hours: int


def retain(connection: Connection[Any], now: datetime, rows: timedelta = ROWS, hours: timedelta = HOURS) -> Dropped:
    """Keep this much, in whole days. The connection commits each statement by itself (autocommit)."""
    chunks = {
        table.name: len(
            connection.execute(
                "SELECT drop_chunks(%s::regclass, older_than => %s)", [table.name, _days_before(now, rows)]
            ).fetchall()
        )
        for table in ALL
    }
    by_hour = 0
    for rollup in _BY_HOUR:
        table = rollup.tables[0]
        query = f"DELETE FROM {table} WHERE {rollup.time} < %s AND {rollup.time} >= '1970-01-02Z'"  # noqa: S608
        by_hour += connection.execute(query.encode(), [_days_before(now, hours)]).rowcount
    return Dropped(chunks, _drop_mails(connection, _days_before(now, rows + MAILS_LONGER)), by_hour)


def _drop_mails(connection: Connection[Any], before: datetime) -> int:
    dropped = 0
    while True:
        with connection.transaction():
            tables.lock(connection)
            some = connection.execute(_OLD_MAILS, [before, _AT_ONCE]).rowcount
        dropped += some
        if some < _AT_ONCE:
            return dropped


def _days_before(now: datetime, kept: timedelta) -> datetime:
    return (now.astimezone(UTC) - kept).replace(hour=0, minute=0, second=0, microsecond=0)
