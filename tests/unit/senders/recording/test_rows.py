"""What a decision's row keeps of its gates."""

from datetime import UTC, datetime

import orjson
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from schemas.decisions import Decision, GateAnswer
from schemas.vocabulary import DecisionOutcome, Gate
from senders.recording import rows

GATES = TypeAdapter(list[GateAnswer])
SEEN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
ANSWERS = st.builds(
    GateAnswer,
    gate=st.sampled_from(Gate),
    passed=st.booleans(),
    observed=SEEN,
    limit=SEEN,
    next_eligible=st.none() | st.datetimes(timezones=st.just(UTC)),
)


def stored(gates: list[GateAnswer]) -> bytes:
    decision = Decision(
        id="d",
        trigger="hello",
        rule_hash="r",
        user_id="u",
        occurrence="o",
        step="first",
        outcome=DecisionOutcome.SEND,
        gates=gates,
        decided_at=datetime(2026, 11, 1, tzinfo=UTC),
    )
    found: str = rows.of_decision(decision)[rows.DECISION.index("gates")]
    return found.encode()


@given(st.lists(ANSWERS, max_size=3))
def test_gates_are_read_as_they_were(gates: list[GateAnswer]) -> None:
    assert GATES.validate_json(stored(gates)) == gates


def test_what_a_gate_does_not_say_takes_no_room() -> None:
    [kept] = orjson.loads(stored([GateAnswer(gate=Gate.MODE, passed=True)]))
    assert kept == {"gate": "mode", "passed": True}
