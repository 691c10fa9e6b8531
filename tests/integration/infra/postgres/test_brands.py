"""The migration that gives outcomes a brand: rows of before have none and stay as they were counted, new ones count."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from drivers.earlier_migrations import migrate_before
from drivers.recorded_facts import a_command, an_outcome, kept, record

from infra.postgres.migrate import migrate
from schemas.vocabulary import OutcomeKind
from senders.recording.rebuild import days_to_count, rebuild

pytestmark = pytest.mark.servers

AT = datetime(2026, 11, 2, 12, tzinfo=UTC)
ABOUT = {"trigger": "hello", "step": "first", "purpose": "shop/news", "decided_at": AT}


def test_a_mail_of_before_has_no_brand_until_a_fact_says_it(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    migrate_before("0040", empty_database_url, monkeypatch, tmp_path)
    with psycopg.connect(empty_database_url, autocommit=True, options="-c timezone=UTC") as connection:
        for number in (1, 2):
            connection.execute(
                """INSERT INTO deliveries (id, time, command_id, user_id, trigger, purpose, step, decided_at, kind,
                                           provider, attempt)
                   VALUES (%(command)s, %(at)s, %(command)s, 'u', 'hello', 'shop/news', 'first', %(at)s, 'accepted',
                           'smtp', 1)""",
                {"at": AT, "command": a_command(number)},
            )
        connection.execute(
            """INSERT INTO ledger_outcomes (recorded_at, admitted_at, state_at, command_id, partition, attempt, hard,
                                            state, user_id, trigger, purpose)
               VALUES (now(), now(), now(), %s, 0, 1, false, 'accepted', 'u', 'hello', 'shop/news')""",
            [a_command(1)],
        )
        migrate(empty_database_url)
        assert connection.execute("SELECT brand FROM ledger").fetchall() == [(None,)]
        rebuild(connection, days_to_count(connection, None, None))
        by_brand = "SELECT brand, accepted, clicked FROM rollup_mails_day WHERE accepted > 0 ORDER BY brand"
        assert connection.execute(by_brand).fetchall() == [("", 2, 0)]

        later = int((AT - an_outcome(1, OutcomeKind.CLICKED, 0).time).total_seconds()) // 60 + 60
        record(connection, [an_outcome(1, OutcomeKind.CLICKED, later, machine=False, brand="shop", **ABOUT)])
        assert connection.execute(by_brand).fetchall() == [("", 1, 0), ("shop", 1, 1)]
        before = kept(connection)
        rebuild(connection, days_to_count(connection, None, None))
        assert kept(connection) == before
