"""Counts what is recorded anew: for rollups that were lost, or that did not exist yet when the rows were recorded.

It works beside recorders, a day or an hour in each transaction, and may be stopped and run again. Rollups outlive the
rows: what was counted of a table stays for the days of which it has no rows left. `mails` is told everything again,
which changes nothing that it knows, so what is known of a mail stays too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from psycopg import Connection

from schemas.errors import UserError
from senders.recording import counting, mails, tables
from senders.recording.hypertables import ALL, DECISIONS
from senders.recording.tables import Hypertable

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_AT_ONCE = 100_000
"""Of so many rows, `mails` is told in one transaction. Recorders wait meanwhile."""
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)
"""The day of mails of which nobody knows when they were sent."""
_GOALS = f"""
    WITH fresh AS (
        SELECT {DECISIONS.read} FROM decisions WHERE outcome = 'goal' AND time >= %(since)s
    ), {counting.GOALS.added(f"fresh WHERE {counting.REACHED} AND sent_at >= %(since)s AND sent_at < %(until)s")}
    SELECT 1"""  # noqa: S608  # of our own names

_DAYS_OF_MAILS = """
    SELECT DISTINCT time_bucket('1 day', sent)
    FROM (SELECT sent FROM mails UNION ALL SELECT sent FROM rollup_mails_day) AS each
    WHERE sent >= %s AND sent < %s OR sent = %s"""


class NotRecorded(UserError):
    """There are no rows of the days asked for."""


@dataclass(frozen=True, slots=True)
class Days:
    """Days from `first` until before `end`."""

    first: date
    end: date

    def __len__(self) -> int:
        return (self.end - self.first).days

    def __iter__(self) -> Iterator[datetime]:
        return (_midnight(self.first) + _DAY * number for number in range(len(self)))


def days_to_count(connection: Connection[Any], since: date | None, to: date | None) -> Days:
    """The days from `since` to `to`, both included; by default all that have rows. Raises NotRecorded."""
    recorded = [found for table in ALL if (found := _recorded(connection, table)) is not None]
    if not recorded:
        raise NotRecorded("nothing is recorded yet, so there is nothing to count")
    first, last = min(found.first for found in recorded), max(found.end for found in recorded) - _DAY
    if since is not None and since < first:
        raise NotRecorded(f"--from {since}: rows begin on {first}; rollups of earlier days stay as they are")
    days = Days(since or first, (to or last) + _DAY)
    if len(days) <= 0:
        raise NotRecorded(f"--from {days.first} --to {days.end - _DAY}: there is no day between them")
    return days


def _recorded(connection: Connection[Any], table: Hypertable) -> Days | None:
    """From the day of the oldest row to that of the newest one."""
    [(oldest, newest)] = connection.execute(f"SELECT min(time), max(time) FROM {table.name}".encode()).fetchall()  # noqa: S608
    return None if oldest is None else Days(oldest.date(), newest.date() + _DAY)


def _untold(_days: int, _rows: int) -> None:
    """Nobody waits for it."""


def rebuild(connection: Connection[Any], days: Days, tell: Callable[[int, int], None] = _untold) -> int:
    """Count the rows of these days anew. `tell` is called with the days done and the rows. Returns the rows.

    The connection commits each statement by itself (autocommit).
    """
    rows = 0
    for number, day in enumerate(days):
        rows += _rows_of(connection, day)
        tell(number + 1, rows)
    _goals_of(connection, days)
    since, until = _midnight(days.first), _midnight(days.end)
    for (day,) in connection.execute(_DAYS_OF_MAILS, [since, until, _UNKNOWN]).fetchall():
        _mails_of(connection, day)
    return rows


def _has_rows(connection: Connection[Any], table: Hypertable, day: datetime) -> bool:
    some = f"SELECT FROM {table.name} WHERE time >= %s AND time < %s LIMIT 1".encode()
    return connection.execute(some, [day, day + _DAY]).fetchone() is not None


def _rows_of(connection: Connection[Any], day: datetime) -> int:
    rows, left = 0, [table for table in ALL if _has_rows(connection, table, day)]
    if not left:
        return 0
    for table in left:
        with connection.transaction():
            tables.lock(connection)
            rows += table.recount(connection, day, day + _DAY)
    part = _DAY if rows <= _AT_ONCE else _HOUR
    for number in range(_DAY // part):
        since = day + part * number
        with connection.transaction():
            tables.lock(connection)
            for table in left:
                table.tell(connection, since, since + part)
    return rows


def _goals_of(connection: Connection[Any], days: Days) -> None:
    """Count the goals of sends on these days, but of none before the first decision that is left."""
    left = _recorded(connection, DECISIONS)
    if left is None:
        return
    since, until = _midnight(max(days.first, left.first)), _midnight(days.end)
    with connection.transaction():
        tables.lock(connection)
        counting.GOALS.clear(connection, since, until)
        connection.execute(_GOALS.encode(), {"since": since, "until": until}, prepare=False)


def _mails_of(connection: Connection[Any], day: datetime) -> None:
    """Count the mails that were sent on a day."""
    with connection.transaction():
        tables.lock(connection)
        for rollup in (mails.MAILS, mails.DELAYS):
            rollup.clear(connection, day, day + _DAY)
        connection.execute(f"WITH {mails.OF_MAILS} SELECT 1".encode(), {"since": day, "until": day + _DAY})


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
