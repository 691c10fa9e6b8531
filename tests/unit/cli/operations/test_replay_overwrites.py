"""What a replay must not overwrite: newer records of a compacted topic, and a profile by a tombstone."""

from datetime import UTC, datetime

import pytest

from cli.operations.replay import _follows, _Seen, _why_not
from schemas.deadletters import DeadLetter, b64
from schemas.vocabulary import DeadLetterCause

OWN = _Seen(1_000, (6, 4), "")


@pytest.mark.parametrize(
    ("other", "newer"),
    [
        (_Seen(1_001, (5, 0), ""), True),
        (_Seen(1_000, (5, 0), ""), True),
        (_Seen(999, (5, 9), ""), False),
        (_Seen(1_000, (6, 5), ""), True),
        (_Seen(1_000, (6, 3), ""), False),
    ],
)
def test_a_newer_record_is_later_in_the_partition_or_not_older_in_another(other, newer):
    assert _follows(other, OWN) is newer


@pytest.mark.parametrize("force", [False, True])
def test_a_letter_without_a_value_is_never_replayed_because_it_would_delete_a_profile(force):
    letter = DeadLetter(
        topic="profiles", partition=0, offset=1, cause=DeadLetterCause.INVALID, detail="too large", reader="streams",
        time=datetime.now(UTC), key=b64(b"u1"),
    )  # fmt: skip
    assert _why_not(letter, set(), set(), force) == "it has no value to send; publish the record again"
