"""The bytes of a decision, whatever its instants."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import encode
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from triggers.cel.runtime import as_time
from triggers.engine.records import AnswerRecord, DecisionRecord

INSTANTS = st.integers(-(10**12), 10**14) | st.integers(-(10**9), 10**11).map(lambda seconds: seconds * 1000)
GIVEN_OFTEN = AnswerRecord(Gate.MODE, True, "live", shared=True)


@given(INSTANTS, INSTANTS, INSTANTS)
def test_a_decision_is_written_as_its_model_would_be_at_every_instant(at_ms: int, due_ms: int, until_ms: int) -> None:
    answers = [GIVEN_OFTEN, AnswerRecord(Gate.CAP, False, 2, None, due_ms, until_ms)]
    outcome, reason = DecisionOutcome.DROP, Reason.CAP
    record = DecisionRecord("t", "0", "u", '["e"]', "s", outcome, reason, at_ms, due_ms, ["e"], answers)

    written = record.decision_json()

    assert written == encode(record.decision())
    assert orjson.loads(written)["inputs"]["due"] == as_time(due_ms).isoformat()
