"""The database's history: run once, run again, run at once, and what it leaves."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from infra.postgres import migrate as migrations
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
def test_migrations_run_in_order_once_and_can_be_run_again(empty_database_url: str) -> None:
    assert migrate(empty_database_url) == REVISIONS
    assert migrate(empty_database_url) == []


@pytest.mark.servers
def test_two_migrators_at_once_do_the_work_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = [revisions for revisions in pool.map(migrate, [empty_database_url] * 2) if revisions]
    assert done == [REVISIONS]


@pytest.fixture
def reader(empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Connection[Any]]:
    """A transaction that has read, as that of a backup, the table that the one migration changes."""
    (tmp_path / "0001_more.sql").write_text("ALTER TABLE busy ADD COLUMN more text")
    monkeypatch.setattr(migrations, "MIGRATIONS", tmp_path)
    monkeypatch.setattr(migrations, "LOCK_S", 0.02)
    monkeypatch.setattr(migrations, "LOCK_TRIES", 3)
    with psycopg.connect(empty_database_url, options="-c idle_in_transaction_session_timeout=20s") as connection:
        connection.execute("CREATE TABLE busy ()")
        connection.commit()
        connection.execute("SELECT FROM busy")
        yield connection


@pytest.mark.servers
def test_a_migration_waits_for_a_table_only_so_long_and_then_names_who_uses_it(
    reader: Connection[Any], empty_database_url: str
) -> None:
    says = f"0001_more: .* process {reader.info.backend_pid}, since .*run `ebbtide migrate` again"
    with pytest.raises(MigrationError, match=says):
        migrate(empty_database_url)
    reader.rollback()
    assert migrate(empty_database_url) == ["0001_more"]


@pytest.mark.servers
def test_others_get_at_the_table_between_two_tries_of_a_migration(
    reader: Connection[Any], empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def others(_: float) -> None:
        with psycopg.connect(empty_database_url, options="-c lock_timeout=5s") as worker:
            worker.execute("INSERT INTO busy DEFAULT VALUES")
        reader.rollback()

    monkeypatch.setattr(migrations, "sleep", others)
    assert migrate(empty_database_url) == ["0001_more"]


@pytest.mark.servers
def test_the_analysts_tables_are_hypertables_in_days_and_the_views_answer(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        days = connection.execute(
            "SELECT hypertable_name, time_interval::text FROM timescaledb_information.dimensions ORDER BY 1"
        ).fetchall()
        recent = ("visitor_events", "00:15:00")  # no table of analysts: web drops its chunks within the hour
        assert days == [("decisions", "1 day"), ("deliveries", "1 day"), ("engagement", "1 day"), recent]
        views = connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'").fetchall()
        assert {name for (name,) in views} == VIEWS
        assert connection.execute("SELECT * FROM v_delivery_balance").fetchall() == [(0, 0, 0, 0)]
        for view in VIEWS - {"v_delivery_balance"}:
            assert connection.execute(f"SELECT * FROM {view}").fetchall() == []


@pytest.mark.servers
def test_a_lease_of_a_connection_has_the_one_index_that_is_used(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'connection_leases'").fetchall()
    assert found == [("connection_leases_pkey",)]


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(MigrationError, match=r"127\.0\.0\.1:1/ebbtide.*`make up` starts it") as failure:
        migrate("postgresql://postgres:secret@127.0.0.1:1/ebbtide")
    assert "secret" not in str(failure.value)
