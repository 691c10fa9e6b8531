"""The hypertables and the statements that write them: rows and rollups in one.

A statement begins with `fresh`, the rows to count: those that it inserts, or rows that are there already. The parts
behind it are the same text for both, so both come to the same sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from psycopg import Connection

from senders.recording.counting import Rollup
from senders.recording.rows import RowOf

LOCK = 7_306_121
"""The advisory lock of whoever changes rollups: an arbitrary number, the same in every version.

All recorders add to the same few rows, so they take turns anyway. With the lock they do so before they begin, and
nobody else changes a mail between the read of its row and the write.
"""

HELD_S = 5.0
"""Who stands still with the lock, as a frozen process does, loses connection and lock after this time, and records its
batch again when it goes on. Between two statements of a batch lie milliseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Hypertable:
    """A hypertable, its rollups, and the statements that change them."""

    name: str
    columns: Sequence[str]
    values: RowOf
    read: str
    """What the counting reads of a row."""
    own_time: Rollup
    """Its rollup by the time of the fact."""
    by_send: Sequence[str]
    """The parts of a WITH that count what belongs to the time of the send."""

    def stage(self, connection: Connection[Any], facts: Sequence[Any]) -> None:
        """Copy the facts to a temporary table, in the order of time.

        A chunk is opened anew for each row that is in another one than that before, and the index ends at the right.
        """
        new = f"new_{self.name}"
        connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {new} (LIKE {self.name}); TRUNCATE {new}".encode())
        copying = f"COPY {new} ({', '.join(self.columns)}) FROM STDIN".encode()
        with connection.cursor() as cursor, cursor.copy(copying) as copy:
            for row in sorted(map(self.values, facts), key=itemgetter(self.columns.index("time"))):
                copy.write_row(row)

    def take(self, connection: Connection[Any]) -> None:
        """Insert the staged rows that are not there yet, and count them.

        It is planned each time: a plan from when `mails` was empty would read all of it.
        """
        columns = ", ".join(self.columns)
        fresh = f"""INSERT INTO {self.name} ({columns}) SELECT {columns} FROM new_{self.name}
                    ON CONFLICT DO NOTHING RETURNING {self.read}"""  # noqa: S608  # of our own names
        connection.execute(_counting(fresh, [self.own_time.added("fresh"), *self.by_send]), prepare=False)

    def recount(self, connection: Connection[Any], since: datetime, until: datetime) -> int:
        """Count the recorded rows of whole days anew, by their own time. Returns how many they are."""
        self.own_time.clear(connection, since, until)
        return self._count(connection, [self.own_time.added("fresh")], since, until)

    def tell(self, connection: Connection[Any], since: datetime, until: datetime) -> None:
        """Tell `mails` what the recorded rows of this time say. What it knows already changes nothing."""
        self._count(connection, self.by_send[:1], since, until)

    def _count(self, connection: Connection[Any], parts: Sequence[str], since: datetime, until: datetime) -> int:
        fresh = f"SELECT {self.read} FROM {self.name} WHERE time >= %(since)s AND time < %(until)s"  # noqa: S608
        [[count]] = connection.execute(
            _counting(fresh, parts), {"since": since, "until": until}, prepare=False
        ).fetchall()
        return int(count)


def _counting(fresh: str, parts: Sequence[str]) -> bytes:
    return f"WITH fresh AS ({fresh}), {', '.join(parts)} SELECT count(*) FROM fresh".encode()  # noqa: S608


def write(connection: Connection[Any], facts: Mapping[Hypertable, Sequence[Any]]) -> None:
    """Write the facts that are not there yet, and count them."""
    given = {table: some for table, some in facts.items() if some}
    for table, some in given.items():
        table.stage(connection, some)
    lock(connection)
    for table in given:
        table.take(connection)


def lock(connection: Connection[Any]) -> None:
    """Be the only one who changes rollups until the transaction ends, which the server ends if it is idle for long."""
    connection.execute(
        "SELECT pg_advisory_xact_lock(%s), set_config('idle_in_transaction_session_timeout', %s, true)",
        [LOCK, f"{HELD_S * 1_000:.0f}ms"],
    )
