"""`ebbtide senders reclassify`: recorded replies by other rules."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from senders.bounces.classifier import load_classifier
from senders.bounces.recorded_replies import IN_LEDGER, differences

pytestmark = pytest.mark.servers
OWN = """
[classes.partner_down]
about = "The partner's gateway is down."
waits = true

[[rules]]
name = "partner_down"
class = "partner_down"
text = ['gateway 7']
"""
REPLIES = [
    ("deliveries", "refused", 550, "5.1.1", "User unknown", "invalid_recipient", True),
    ("deliveries", "refused", 550, "5.1.1", "User unknown", "invalid_recipient", True),
    ("deliveries", "deferred", 554, "5.7.1", "blocked using zen.spamhaus.org", "spam_block", False),
    ("deliveries", "refused", 550, "5.1.1", "User unknown at gateway 7", "invalid_recipient", True),
    ("deliveries", "refused", 550, None, "User unknown", "invalid_sender", False),  # to MAIL
    ("deliveries", "accepted", 250, "2.0.0", "ok", None, False),
    ("engagement", "bounced", 552, "5.2.2", "mailbox full", "quota_issues", False),
]


def record(connection: Connection[Any]) -> None:
    for number, (table, kind, code, enhanced, reply, classification, hard) in enumerate(REPLIES):
        more = (", attempt", ", 1") if table == "deliveries" else ("", "")
        age = IN_LEDGER + timedelta(days=1) if table == "deliveries" else timedelta(hours=1)
        connection.execute(
            f"""INSERT INTO {table} (id, time, command_id, user_id, kind, provider, code, enhanced, reply,
                                     classification, hard{more[0]})
                VALUES (%s, now() - %s, 'c', 'u', %s, 'smtp', %s, %s, %s, %s, %s{more[1]})""",
            [f"{number}", age, kind, code, enhanced, reply, classification, hard],
        )


def test_the_rules_that_judged_differ_in_nothing_and_others_where_they_say_otherwise(
    database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    with psycopg.connect(database_url) as connection:
        record(connection)
        same = differences(connection, connection, load_classifier(), timedelta(days=40))
        other = differences(connection, connection, load_classifier(tmp_path / "own.toml"), timedelta(days=40))
    assert (same.times, same.kinds, same.different) == (6, 5, [])
    [difference] = other.different
    assert (difference.reply.was, difference.judgment.bounce_class) == ("invalid_recipient", "partner_down")
    assert difference.as_json()["now_hard"] is False


def test_a_reply_that_the_ledger_and_the_hypertables_have_counts_once(database_url: str) -> None:
    at, day = datetime.now(UTC) - IN_LEDGER - timedelta(hours=12), timedelta(days=1)
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT ledger_add_partitions(%s::date, %s::date)", [at - day, at + day])
        connection.execute(
            """INSERT INTO ledger_outcomes (recorded_at, admitted_at, state_at, command_id, partition, attempt, hard,
                                            state, reason, reply, user_id, trigger, purpose)
               VALUES (%(at)s, %(at)s, %(at)s, gen_random_uuid(), 0, 1, true, 'refused', 'invalid_recipient',
                       '{"code": 550, "enhanced": "5.1.1", "text": "User unknown"}', 'u', 't', 'p')""",
            {"at": at},
        )
        connection.execute(
            """INSERT INTO deliveries (id, time, command_id, user_id, kind, provider, code, enhanced, reply,
                                       classification, hard, attempt)
               VALUES ('1', %s, 'c', 'u', 'refused', 'smtp', 550, '5.1.1', 'User unknown', 'invalid_recipient', true, 1)
            """,
            [at],
        )
        found = differences(connection, connection, load_classifier(), timedelta(days=40))
    assert (found.times, found.kinds, found.different) == (1, 1, [])


def test_servers_that_put_an_id_into_each_reply_fill_no_memory(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """INSERT INTO engagement (id, time, command_id, user_id, kind, provider, code, reply, classification, hard)
               SELECT n, now() - interval '1 hour', 'c', 'u', 'bounced', 'smtp', 552,
                      'mailbox full, id ' || n || repeat('x', 900), 'quota_issues', false
               FROM generate_series(1, 20000) AS n"""
        )
        tracemalloc.start()
        found = differences(connection, connection, load_classifier(), timedelta(days=40))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (found.times, found.kinds, found.different) == (20_000, 20_000, [])
    assert peak < 10_000_000
