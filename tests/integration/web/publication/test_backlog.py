"""What waits to be published, as gauges and `ebbtide profiles status` show it."""

import psycopg
import pytest

from infra.postgres.database import AsyncDatabase
from infra.postgres.migrate import migrate
from infra.service.outages import Outage
from web.publication.backlog import OutboxBacklog, read_backlog

pytestmark = pytest.mark.servers


async def test_entries_are_counted_by_kind_with_the_age_of_the_oldest(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """INSERT INTO web_outbox (user_id, bulk, added_at) SELECT 'u', age > 100, now() - age * interval '1 s'
            FROM unnest(ARRAY[30, 20, 10, 300, 200]) AS age"""
        )
        connection.execute(
            """INSERT INTO web_progress
            SELECT 'profiles', n, 0, now() - n * interval '1 s' FROM generate_series(0, 7) AS n"""
        )
        connection.execute("INSERT INTO web_progress VALUES ('visitors', 0, 0, now()), ('visitors', 1, 0, '-infinity')")
    backlog = await _look(database_url)
    assert {kind: waiting.entries for kind, waiting in backlog.outbox.items()} == {"live": 3, "import": 2}
    assert backlog.outbox["live"].oldest_s == pytest.approx(30, abs=9)
    assert backlog.outbox["import"].oldest_s == pytest.approx(300, abs=9)
    assert backlog.behind_s == {"profiles": pytest.approx(7, abs=9)}, "visitors were never at the end of each"


async def test_where_nothing_waits_the_age_is_zero(database_url: str) -> None:
    migrate(database_url)
    backlog = await _look(database_url)
    assert backlog.described() == {
        "outbox": {"live": {"entries": 0, "oldest_s": 0.0}, "import": {"entries": 0, "oldest_s": 0.0}},
        "behind_s": {},
    }


async def _look(url: str) -> OutboxBacklog:
    database = AsyncDatabase(url, Outage("ledger"))
    try:
        return await database.run(read_backlog)
    finally:
        await database.close()
