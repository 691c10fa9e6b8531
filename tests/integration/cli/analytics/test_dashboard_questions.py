"""Each query of the dashboards runs as the role of analysts, and finds what the seeded programme has."""

import pytest

from cli.analytics.answers import analyst
from cli.pages.dashboards import DASHBOARDS
from cli.pages.grafana import SqlQuery

pytestmark = pytest.mark.servers

QUERIES = [
    (panel.title, query)
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    for query in panel.queries
    if isinstance(query, SqlQuery)
]


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_a_panel_has_rows_and_a_series_its_time(title: str, query: SqlQuery, seeded_url: str) -> None:
    sql = query.sql.replace("$__timeFilter(day)", "day BETWEEN '2026-03-02' AND '2026-05-25'")

    with analyst(seeded_url) as connection:
        cursor = connection.execute(sql.encode())
        rows = cursor.fetchall()

    assert "$__" not in sql
    assert rows, title
    assert cursor.description is not None
    assert not query.is_series or cursor.description[0].name == "time"
