"""The newest links are found at once in a long table, and a slow PostgreSQL costs a look, no process."""

from datetime import UTC, datetime

import psycopg
import pytest
from structlog.testing import capture_logs

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from web.recipients import stored
from web.recipients.lookup import Lookup
from web.recipients.new_links import NewLinks

pytestmark = pytest.mark.servers


def test_the_newest_links_of_a_long_table_are_read_in_order_of_an_index(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO links (id, url, stored_at)
               SELECT int8send(n), 'https://shop.example/' || n, now() - n * interval '1 second'
               FROM generate_series(1, 100000) AS n"""
        )
        connection.execute("ANALYZE links")
        for since in (datetime.min.replace(tzinfo=UTC), datetime.now(UTC)):
            plan = connection.execute("EXPLAIN " + stored.NEW_LINKS, [since, 20_000]).fetchall()
            steps = "\n".join(line for (line,) in plan)
            assert "Index Scan Backward using links_stored" in steps
            assert "Sort" not in steps


async def test_a_look_that_timed_out_is_made_again(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO links VALUES ('\\x0000000000000001', 'https://shop.example/cart')")
        connection.execute("CREATE SEQUENCE tries")  # no rollback takes its numbers back
        connection.execute(
            """CREATE FUNCTION time_out() RETURNS timestamptz LANGUAGE plpgsql AS
               $$ BEGIN IF nextval('tries') < 2 THEN RAISE query_canceled; END IF; RETURN now(); END $$"""
        )
        connection.execute("ALTER TABLE links RENAME TO kept_links")
        connection.execute("CREATE VIEW links AS SELECT id, url, time_out() AS stored_at FROM kept_links")
    outage = Outage("ledger")
    database = AsyncDatabase(database_url, outage)
    links = Lookup(database, outage, stored.links, 10)
    new_links = NewLinks(database, links, Watchdog())
    with capture_logs() as logs:
        await new_links.look()
        assert links.known(bytes(7) + b"\x01") is None
        await new_links.look()
    assert links.known(bytes(7) + b"\x01") == "https://shop.example/cart"
    assert [line["event"] for line in logs] == ["statement_timed_out"]
    await database.close()
