"""The migration that gives the hypertables their key in time order: rows of before stay, and are counted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from drivers.earlier_migrations import migrate_before
from drivers.recorded_facts import a_command, an_outcome, record, rows_of

from infra.postgres.migrate import migrate
from schemas.vocabulary import OutcomeKind
from senders.recording.rebuild import days_to_count, rebuild

pytestmark = pytest.mark.servers

FIRST = datetime(2026, 8, 3, 12, tzinfo=UTC)
DAYS = 40
OLD = """INSERT INTO {} (id, time, command_id, user_id, trigger, purpose, kind, provider{})
         SELECT %(kind)s || n, %(at)s, %(command)s, 'u', 'hello', 'news', %(kind)s, 'smtp'{}
         FROM generate_series(1, 3) AS n"""


def test_rows_of_before_keep_their_place_and_are_found_counted_and_not_doubled(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    migrate_before("0033", empty_database_url, monkeypatch, tmp_path)
    with psycopg.connect(empty_database_url, autocommit=True, options="-c timezone=UTC") as connection:
        for number in range(DAYS):
            of = {"at": FIRST + timedelta(days=number), "command": a_command(number)}
            connection.execute(OLD.format("deliveries", ", attempt", ", n").encode(), of | {"kind": "accepted"})
            connection.execute(OLD.format("engagement", ", machine", ", false").encode(), of | {"kind": "clicked"})
        connection.execute(
            """INSERT INTO decisions (id, time, trigger, rule_hash, user_id, occurrence, step, outcome, event_ids,
                                      gates, inputs)
               VALUES ('d', %s, 'hello', 'r', 'u', 'o', 'first', 'held_out', '{}', '[]', '{"variant": "a"}')""",
            [FIRST],
        )
        migrate(empty_database_url)
        keys = """SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
                  WHERE contype = 'p'
                    AND conrelid = ANY(ARRAY['decisions', 'deliveries', 'engagement']::regclass[])"""
        assert {key for _, key in connection.execute(keys)} == {'PRIMARY KEY ("time", id)'}
        again = an_outcome(0, OutcomeKind.ACCEPTED, 0).model_copy(update={"id": "accepted1", "time": FIRST})
        record(connection, [again])
        assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (3 * DAYS,), "it is there already"
        assert rows_of(connection, "rollup_mails_day") == set()

        rows = rebuild(connection, days_to_count(connection, None, None))
        assert rows == 6 * DAYS + 1
        counted = "SELECT count(*), sum(accepted), sum(clicked_by_people), min(sent)::date::text FROM rollup_mails_day"
        assert connection.execute(counted).fetchall() == [(DAYS, DAYS, DAYS, "2026-08-03")]
        variants = connection.execute("SELECT variant, outcome, n FROM rollup_decisions_day").fetchall()
        assert variants == [("a", "held_out", 1)]
        chunks = """SELECT DISTINCT range_end - range_start FROM timescaledb_information.chunks
                    WHERE hypertable_name = 'deliveries'"""
        assert connection.execute(chunks).fetchall() == [(timedelta(days=7),)], "old rows stay in their chunks"
        record(connection, [an_outcome(99, OutcomeKind.ACCEPTED, 0, attempt=1)])
        assert connection.execute("SELECT count(*) FROM deliveries WHERE attempt = 1").fetchone() == (DAYS + 1,)
