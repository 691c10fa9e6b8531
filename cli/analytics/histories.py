"""What needs the whole history of each person, kept as counts: paths to conversions, and subjects of experiments.

Both are computed from the rows that the tables hold, so a run may be repeated, and late facts come in at the next one.
Paths are computed by day. Subjects are computed whole, since a user's first mail may be of any day.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import Connection

LOOKBACK = timedelta(days=30)
"""How long a click may lead to a conversion. After as long without either, a path is lost."""
HALF_LIFE = timedelta(days=7)
"""A click so long before another has half of its credit, by the model of decay."""
SPANS = {"lookback": LOOKBACK, "half_life": HALF_LIFE}
_FOLDER = Path(__file__).parent / "history_sql"


def compute_paths(connection: Connection[Any], since: datetime, until: datetime, known_until: datetime) -> int:
    """Computes the paths that ended on the days from `since` on and before `until`; returns the number of rows.

    Both are midnights in UTC. Facts are known up to `known_until`: of a click less than `LOOKBACK` before it, nobody
    knows whether it was lost.
    """
    days = {"since": since, "until": until, "known_until": known_until, **SPANS}
    with connection.transaction():
        connection.execute("LOCK TABLE history_paths IN SHARE ROW EXCLUSIVE MODE")  # a second run waits for the first
        connection.execute(
            "DELETE FROM history_paths WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date"
            " AND day < (%(until)s AT TIME ZONE 'UTC')::date",
            days,
        )
        into = "INSERT INTO history_paths (day, touches, won, lost, decayed) "
        return connection.execute(into + query("paths"), days).rowcount


def compute_subjects(connection: Connection[Any]) -> int:
    """Computes the subjects of all triggers; returns the number of rows."""
    with connection.transaction():
        connection.execute("LOCK TABLE history_subjects IN SHARE ROW EXCLUSIVE MODE")
        connection.execute("DELETE FROM history_subjects")
        into = "INSERT INTO history_subjects (day, trigger, variant, held_out, users, clicked, converted) "
        return connection.execute(into + query("subjects")).rowcount


def query(name: str) -> str:
    """The query of `paths`, which takes since, until, known_until and the spans, or of `subjects`."""
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
