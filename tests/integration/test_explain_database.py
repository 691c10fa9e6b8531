"""`ebbtide explain` on the hypertable that the recorder writes."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from infra.explain import NothingRecorded, from_database
from infra.migrate import migrate
from schemas.decisions import Decision, GateAnswer
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from senders.recorder import Recorder

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def decision(number: int, trigger: str = "cart", user_id: str = "u1") -> Decision:
    return Decision(
        id=f"{number:032x}",
        trigger=trigger,
        rule_hash="r",
        user_id=user_id,
        occurrence="o",
        step="s",
        outcome=DecisionOutcome.DROP,
        reason=Reason.MODE,
        gates=[GateAnswer(gate=Gate.MODE, passed=False, observed="off")],
        event_ids=["e1"],
        inputs={"zone": "UTC", "due": NOW.isoformat()},
        decided_at=NOW + timedelta(minutes=number),
    )


def test_the_last_decisions_come_back_as_they_were_recorded_oldest_first(database_url: str) -> None:
    migrate(database_url)
    decisions = [decision(1), decision(2), decision(3, "other"), decision(4), decision(5, user_id="u2")]
    with psycopg.connect(database_url, autocommit=True) as connection:
        Recorder.write(object.__new__(Recorder), connection, decisions)
    found = from_database(database_url, "u1", "cart", 2)
    assert [each.decision for each in found] == [decisions[1], decisions[3]]
    assert [each.differs for each in found] == [[], []]
    assert [each.decision for each in from_database(database_url, "u1", None, 9)] == decisions[:4]
    assert from_database(database_url, "nobody", None, 9) == []


def test_a_database_without_tables_says_what_to_do(database_url: str) -> None:
    with pytest.raises(NothingRecorded, match="ebbtide migrate"):
        from_database(database_url, "u1", None, 5)
