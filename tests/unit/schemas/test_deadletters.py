"""What a dead letter keeps of its record."""

from datetime import UTC, datetime

from schemas.codec import encode
from schemas.deadletters import LARGEST_KEPT, LONGEST_DETAIL, DeadLetter, dead_letter
from schemas.vocabulary import DeadLetterCause

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def letter(key: bytes | None, value: bytes | None, detail: str = "why") -> DeadLetter:
    return dead_letter(("events", 1, 7), key, value, DeadLetterCause.INVALID, detail, reader="test", time=NOW)


def test_a_letter_has_the_place_and_the_bytes_of_its_record() -> None:
    kept = letter(b"u1", b"\xff")
    assert (kept.place, kept.original_key(), kept.original_value()) == ("events[1]@7", b"u1", b"\xff")


def test_a_record_that_is_too_large_leaves_its_place_and_its_size() -> None:
    assert letter(b"k", b"v" * (LARGEST_KEPT - 1)).key is not None
    large = letter(b"k", b"v" * LARGEST_KEPT, "d" * 5000)
    assert (large.key, large.value) == (None, None)
    assert large.detail.endswith(
        f"; its {LARGEST_KEPT + 1} bytes are too many for a dead letter: read them at their place"
    )
    assert len(encode(large)) < 3 * LONGEST_DETAIL


def test_bytes_that_kafka_refuses_are_left_out_later() -> None:
    bare = letter(b"ab", b"cdef").without_bytes()
    assert (bare.key, bare.value) == (None, None)
    assert "its 6 bytes" in bare.detail


def test_a_detail_that_is_not_unicode_can_be_written() -> None:
    assert b"\\\\ud800" in encode(letter(None, None, "half \ud800"))
