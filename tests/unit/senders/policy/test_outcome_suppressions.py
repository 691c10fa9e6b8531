"""Which records of `outcomes` the recipients view need not read whole."""

import itertools

import orjson
import pytest

from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind, ReplyClass
from senders.policy.outcome_suppressions import concerns_suppressions, may_concern

WHOLE = {"id": "o1", "command_id": "c1", "user_id": "u1", "time": "2026-11-22T10:00:00Z"}


@pytest.mark.parametrize(("kind", "hard"), [*itertools.product(OutcomeKind, (True, False, None))])
def test_what_concerns_suppressions_is_never_passed_over(kind: OutcomeKind, hard: bool | None) -> None:
    fields = {"kind": kind, "hard": hard, "classification": ReplyClass.QUOTA_ISSUES}
    outcome = Outcome.model_validate(WHOLE | fields)

    assert may_concern(orjson.dumps(WHOLE | fields)) or not concerns_suppressions(outcome)


@pytest.mark.parametrize("kind", ["Unsubscribed ", "strange", 7, None, ["accepted"], {"accepted": "accepted"}])
def test_a_kind_that_nobody_knows_may_concern_them(kind: object) -> None:
    assert may_concern(orjson.dumps(WHOLE | {"kind": kind}))


@pytest.mark.parametrize("value", [None, b"", b"[]", b"7", b'"accepted"', b'{"kind":"accepted"', b"[" * 2000])
def test_what_is_no_outcome_may_concern_them(value: bytes | None) -> None:
    assert may_concern(value)


def test_a_mail_that_was_taken_does_not() -> None:
    assert not may_concern(orjson.dumps(WHOLE | {"kind": "accepted"}))
