"""The schema `raw_analytics`: the views of `analytics` over rows instead of rollups, to compare results and time.

What stands on other views in `analytics` is the same text here, so a mistake in it shows in neither: the tests of the
views look for those.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import ClientCursor, Connection

from cli.analytics import histories

_BASE = Path(__file__).with_suffix(".sql")
_ABOVE = ("sends", "funnel", "cohorts", "experiments", "holdouts", "paths", "deliverability", "costs")
"""The views that stand on others, after those that they need."""


def create_raw_views(connection: Connection[Any], since: datetime, until: datetime) -> None:
    """Creates the schema. Paths are those of the days from `since` on and before `until`, which is known."""
    connection.execute("CREATE SCHEMA raw_analytics")
    connection.execute(_BASE.read_bytes())
    days = {"since": since, "until": until, "known_until": until, **histories.SPANS}
    for name in ("paths", "subjects"):
        query = ClientCursor(connection).mogrify(histories.query(name), days)
        query = query.replace("JOIN mails", "JOIN raw_analytics.mails")
        connection.execute(f"CREATE VIEW raw_analytics.history_{name} AS {query}")
    connection.execute("SET search_path = pg_catalog")  # so that definitions name each view's schema
    for name in _ABOVE:
        [[query]] = connection.execute("SELECT pg_get_viewdef(%s::regclass)", [f"analytics.{name}"]).fetchall()
        query = query.replace("analytics.", "raw_analytics.").replace("public.history_", "raw_analytics.history_")
        connection.execute(f"CREATE VIEW raw_analytics.{name} AS {query}")
    connection.execute("RESET search_path")
