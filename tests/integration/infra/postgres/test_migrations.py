"""The database's history: run once, run again, run at once, and what it leaves."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from infra.postgres.migrate import MIGRATIONS, MigrationError, migrate

REVISIONS = sorted(file.stem for file in MIGRATIONS.glob("*.sql"))
VIEWS = {
    "v_sends_by_day",
    "v_decisions_by_reason",
    "v_delivery_results",
    "v_delivery_state",
    "v_delivery_balance",
    "ledger",
    "v_engagement_by_trigger",
}


@pytest.mark.servers
def test_migrations_run_in_order_once_and_can_be_run_again(database_url: str) -> None:
    assert migrate(database_url) == REVISIONS
    assert migrate(database_url) == []


@pytest.mark.servers
def test_two_migrators_at_once_do_the_work_once(database_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = [revisions for revisions in pool.map(migrate, [database_url] * 2) if revisions]
    assert done == [REVISIONS]


@pytest.mark.servers
def test_the_analysts_tables_are_hypertables_in_weeks_and_the_views_answer(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        weeks = connection.execute(
            "SELECT hypertable_name, time_interval::text FROM timescaledb_information.dimensions ORDER BY 1"
        ).fetchall()
        assert weeks == [("decisions", "7 days"), ("deliveries", "7 days"), ("engagement", "7 days")]
        views = connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'").fetchall()
        assert {name for (name,) in views} == VIEWS
        assert connection.execute("SELECT * FROM v_delivery_balance").fetchall() == [(0, 0, 0, 0)]
        for view in VIEWS - {"v_delivery_balance"}:
            assert connection.execute(f"SELECT * FROM {view}").fetchall() == []


@pytest.mark.servers
def test_a_lease_of_a_connection_has_the_one_index_that_is_used(database_url: str) -> None:
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'connection_leases'").fetchall()
    assert found == [("connection_leases_pkey",)]


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(MigrationError, match=r"127\.0\.0\.1:1/ebbtide.*`make up` starts it") as failure:
        migrate("postgresql://postgres:secret@127.0.0.1:1/ebbtide")
    assert "secret" not in str(failure.value)
