"""`ebbtide analytics`: rollups counted anew, and what is old dropped."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from drivers.command_line import ebbtide
from drivers.recorded_facts import an_outcome, forget_rollups, kept, record, rows_of

from infra.postgres.migrate import migrate
from schemas.vocabulary import OutcomeKind

pytestmark = pytest.mark.servers

NOW = datetime.now(UTC)


def at(days_ago: int, command: int) -> list[object]:
    """A mail that was accepted and opened so many days ago."""
    time = {"time": NOW - timedelta(days=days_ago)}
    about = {"trigger": "hello", "decided_at": time["time"]}
    facts = [
        an_outcome(command, OutcomeKind.ACCEPTED, 0, attempt=1, **about),
        an_outcome(command, OutcomeKind.OPENED, 1),
    ]
    return [fact.model_copy(update=time) for fact in facts]


def test_rollups_are_counted_anew_and_old_rows_go_without_them(empty_database_url: str) -> None:
    variables = {"EBBTIDE_DATABASE_URL": empty_database_url, "EBBTIDE_LEDGER_URL": empty_database_url}
    missing = ebbtide("analytics", "rebuild", **variables)
    assert missing.returncode == 2
    assert "ebbtide migrate" in missing.stderr
    migrate(empty_database_url)
    nothing = ebbtide("analytics", "rebuild", **variables)
    assert (nothing.returncode, "nothing is recorded yet" in nothing.stderr) == (2, True)

    with psycopg.connect(empty_database_url, autocommit=True, options="-c timezone=UTC") as connection:
        for number, days_ago in enumerate((1_200, 800, 2)):
            record(connection, at(days_ago, number))
        before = kept(connection)
        forget_rollups(connection)
        done = ebbtide("analytics", "rebuild", "--json", **variables)
        assert {**json.loads(done.stdout), "seconds": 0} == {
            "from": (NOW - timedelta(days=1_200)).date().isoformat(),
            "to": (NOW - timedelta(days=2)).date().isoformat(),
            "days": 1_199,
            "rows": 6,
            "finished": True,
            "seconds": 0,
        }
        assert kept(connection) == before

        retained = ebbtide("analytics", "retain", "--json", **variables)
        assert json.loads(retained.stdout) == {
            "chunks": {"decisions": 0, "deliveries": 2, "engagement": 2},
            "mails": 1,
            "hours": 4,
        }
        assert len(rows_of(connection, "rollup_mails_day")) == 3
        assert len(rows_of(connection, "rollup_mails_hour")) == len(rows_of(connection, "mails")) == 2
        assert len(rows_of(connection, "deliveries")) == 1

        refused = ebbtide("analytics", "rebuild", "--from", "2020-01-01", **variables)
        assert (refused.returncode, "rows begin on" in refused.stderr) == (2, True)
        assert ebbtide("analytics", "rebuild", "--from", "yesterday", **variables).returncode == 2

    audit = ebbtide("audit", "--what", "analytics", "--json", **variables)
    first, last = ((NOW - timedelta(days=ago)).date().isoformat() for ago in (1_200, 2))
    assert [(each["what"], each["after"]) for each in map(json.loads, audit.stdout.splitlines())] == [
        ("analytics rebuild", {"from": first, "to": last}),
        ("analytics retain", {"rows_days": 730, "hours_days": 1_095}),
    ]
