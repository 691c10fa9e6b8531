"""`ebbtide compare` on the hypertable that the recorder writes: shadow beside live, by day, user and reason."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.command_line import Done, ebbtide

from schemas.decisions import Decision
from schemas.digests import digest
from schemas.vocabulary import DecisionOutcome, Reason
from senders.recording.recorder import Recorder

pytestmark = pytest.mark.servers

BEGAN = datetime(2026, 11, 2, 22, 30, tzinfo=UTC)
PERIOD = ("--since", "2026-11-01", "--until", "2026-11-20")
SENT, SHADOW, DROPPED = DecisionOutcome.SEND, DecisionOutcome.SHADOW, DecisionOutcome.DROP


def decided(
    trigger: str, user: str, outcome: DecisionOutcome, hours: float = 0, reason: Reason | None = None
) -> Decision:
    made = digest([trigger, user, outcome, hours])
    return Decision(
        id=made,
        trigger=trigger,
        rule_hash="r",
        user_id=user,
        occurrence=made,
        step="s",
        outcome=outcome,
        reason=reason,
        decided_at=BEGAN + timedelta(hours=hours),
        command_id=made if outcome is SENT else None,
    )


@pytest.fixture
def recorded(database_url: str) -> str:
    facts = [
        *(decided("old", user, SENT) for user in ("u1", "u2", "u3")),
        decided("old", "u1", SENT, 2),
        decided("old", "u4", DROPPED, 1, Reason.NO_CONSENT),
        decided("old", "u4", DROPPED, 2, Reason.CAP),
        *(decided("new", user, SHADOW, 1) for user in ("u1", "u2", "u4", "u5")),
        *(decided("new", "u2", SHADOW, hours) for hours in (3, 4)),
        decided("new", "u3", DROPPED, 1, Reason.CONDITION),
        decided("new", "u9", SHADOW, -24 * 40),
        *(decided("some", f"u{number}", SENT if number < 2 else SHADOW, number) for number in range(10)),
    ]
    with psycopg.connect(database_url, autocommit=True) as connection:
        Recorder.write(object.__new__(Recorder), connection, facts)
    return database_url


def compare(url: str, *arguments: str) -> Done:
    return ebbtide("compare", *arguments, EBBTIDE_DATABASE_URL=url)


def found(url: str, *arguments: str) -> Any:
    done = compare(url, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_rules_are_compared_by_day_user_and_reason(recorded: str) -> None:
    both = found(recorded, "new", "--with", "old", *PERIOD)
    assert both["days"] == [
        {"day": "2026-11-02", "shadow": 4, "live": 3},
        {"day": "2026-11-03", "shadow": 2, "live": 1},
    ]
    assert both["users"] == {"both": 2, "only_shadow": 2, "only_live": 1, "more": 3, "fewer": 2}
    assert both["sample"] == {"both": ["u1", "u2"], "only_shadow": ["u4", "u5"], "only_live": ["u3"]}
    assert both["instead"] == [
        {"of_shadow": True, "outcome": "", "reason": "", "users": 1},
        {"of_shadow": True, "outcome": "drop", "reason": "cap", "users": 1},
        {"of_shadow": False, "outcome": "drop", "reason": "condition", "users": 1},
    ]
    assert {"trigger": "old", "outcome": "drop", "reason": "cap", "decisions": 1, "users": 1} in both["decisions"]


def test_people_read_the_same(recorded: str) -> None:
    lines = [line.rstrip() for line in compare(recorded, "new", "--with", "old", *PERIOD).stdout.splitlines()]
    assert lines[0] == "new beside old, 2026-11-01 00:00 to 2026-11-20 00:00 UTC"
    assert "all           6    4" in lines
    assert "    2  only new   u4, u5" in lines
    assert "3 users would get more mails by new, 2 fewer" in lines
    at = lines.index("Users mailed by new only: what old decided about them last")
    assert [line.strip() for line in lines[at + 1 : at + 3]] == ["1  no decision", "1  drop cap"]


def test_a_canary_is_compared_with_what_it_kept_back(recorded: str) -> None:
    one = found(recorded, "some", *PERIOD)
    assert sum(day["shadow"] for day in one["days"]) == 8
    assert one["users"] == {"both": 0, "only_shadow": 8, "only_live": 2, "more": 8, "fewer": 2}
    assert one["instead"] == []
    assert "some: shadow beside live" in compare(recorded, "some", *PERIOD).stdout


def test_a_canary_beside_another_rule_counts_with_what_it_sent(recorded: str) -> None:
    assert sum(day["shadow"] for day in found(recorded, "some", "--with", "old", *PERIOD)["days"]) == 10


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("nwe", *PERIOD), 1, "no decision of 'nwe' since 2026-11-01 00:00 UTC; did you mean new?"),
        (("new", "--with", "other", *PERIOD), 1, "no decision of 'other'"),
        (("new", "--since", "2020-01-01", "--until", "2020-02-01"), 1, "an earlier --since may have more"),
        (("old", *PERIOD), 1, "old has only run live since 2026-11-01 00:00 UTC; name the rule beside it by --with"),
        (("new", "--since", "yesterday"), 2, "neither a time such as 30d nor a day"),
        (("new", "--since", "2026-11-02", "--until", "2026-11-01"), 2, "must be before --until"),
    ],
)
def test_what_cannot_be_compared_is_said(recorded: str, arguments: tuple[str, ...], status: int, says: str) -> None:
    done = compare(recorded, *arguments)
    assert (done.returncode, says in " ".join(done.stderr.replace("│", " ").split())) == (status, True), done.stderr


def test_a_database_without_tables_says_what_to_do(empty_database_url: str) -> None:
    done = compare(empty_database_url, "new")
    assert (done.returncode, "ebbtide migrate" in done.stderr) == (2, True)
