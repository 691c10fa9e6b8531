"""The indexes by command, built anew over rows that are there."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from drivers.earlier_migrations import migrate_before
from drivers.recorded_facts import a_command, an_outcome, record

from infra.postgres.migrate import migrate
from schemas.vocabulary import OutcomeKind

pytestmark = pytest.mark.servers

_ROWS = """INSERT INTO {} (id, time, command_id, user_id, kind, provider{})
           SELECT md5(n::text), %(at)s + n * interval '1 second', %(command)s, 'u', %(kind)s, ''{}
           FROM generate_series(1, 3) AS n"""
_FOUND = """SELECT kind, count(*) FROM (
                SELECT kind FROM deliveries WHERE command_id = ANY(%(ids)s)
                UNION ALL SELECT kind FROM engagement WHERE command_id = ANY(%(ids)s)) AS rows
            GROUP BY kind"""


def test_rows_of_a_command_are_found_by_the_index_whenever_they_were_recorded(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    migrate_before("0042", empty_database_url, monkeypatch, tmp_path)
    first = datetime(2026, 8, 3, 12, tzinfo=UTC)
    with psycopg.connect(empty_database_url, autocommit=True, options="-c timezone=UTC") as connection:
        for number in range(9):
            of = {"at": first + timedelta(days=number), "command": a_command(number)}
            connection.execute(_ROWS.format("deliveries", ", attempt", ", n").encode(), of | {"kind": "deferred"})
            connection.execute(_ROWS.format("engagement", "", "").encode(), of | {"kind": "opened"})
        migrate(empty_database_url)
        record(connection, [an_outcome(4, OutcomeKind.ACCEPTED, 0), an_outcome(5, OutcomeKind.CLICKED, 0)])

        connection.execute("SET enable_seqscan = off")
        asked = {"ids": [a_command(4), a_command(5)]}
        assert dict(connection.execute(_FOUND, asked).fetchall()) == {
            "deferred": 6,
            "opened": 6,
            "accepted": 1,
            "clicked": 1,
        }
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {_FOUND}".encode(), asked))
        assert "Seq Scan" not in plan
        methods = """SELECT DISTINCT amname FROM pg_class JOIN pg_am ON pg_am.oid = relam
                     WHERE relname ~ '(deliveries|engagement)(_by)?_command$'"""
        assert connection.execute(methods).fetchall() == [("hash",)]
