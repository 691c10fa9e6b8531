"""The migration that gives each suppression its user: of commands that the ledger knows, and of older ones."""

from pathlib import Path

import psycopg
import pytest
from drivers.earlier_migrations import migrate_before

from infra.postgres.migrate import migrate

pytestmark = pytest.mark.servers

KNOWN, OLDER, FORGOTTEN = "1" * 32, "2" * 32, "3" * 32


def test_suppressions_get_user_and_trigger_of_the_command_that_caused_them(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    migrate_before("0019", empty_database_url, monkeypatch, tmp_path)
    columns = "address_hash, scope, reason, since, command_id"
    insert = f"INSERT INTO suppressions ({columns}) VALUES (%s, '*', 'r', now(), %s)"
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO ledger_outcomes (command_id, user_id, partition, trigger, purpose, attempt, hard, state,
                                            state_at, admitted_at)
               VALUES (%s::uuid, 'u1', 0, 'welcome', 'marketing', 1, true, 'refused', now(), now())""",
            [KNOWN],
        )
        for number, day in enumerate(("2026-01-01", "2026-03-01")):
            connection.execute(
                """INSERT INTO deliveries (id, time, command_id, user_id, trigger, kind, provider, attempt)
                   VALUES (%s, %s, %s, 'u2', 'digest', 'refused', 'smtp', 1)""",
                [str(number), day, OLDER],
            )
        for hash_, command in ((b"1", KNOWN), (b"2", OLDER), (b"3", FORGOTTEN), (b"4", None)):
            connection.execute(insert, [hash_, command])
        migrate(empty_database_url)
        rows = dict(connection.execute("SELECT address_hash, (user_id, trigger) FROM suppressions").fetchall())
        assert rows == {b"1": ("u1", "welcome"), b"2": ("u2", "digest"), b"3": (None, None), b"4": (None, None)}
        connection.execute(insert, [b"5", KNOWN])
        [origin] = connection.execute("SELECT user_id, trigger FROM suppressions WHERE address_hash = '5'").fetchall()
    assert origin == ("u1", "welcome"), "also where the program that suppresses is older"
