"""Which replaced texts a new set names on: for occurrences that began with them, so long and so many."""

from datetime import UTC, datetime, timedelta

from cli.manifests.publication import MAX_PINNED, PINNED_FOR, carry_over
from schemas.codec import decode, encode
from schemas.rules import Manifest

NOW = datetime(2026, 11, 22, tzinfo=UTC)
EARLIER = NOW - timedelta(days=30)


def manifest(*texts: str, **pinned: datetime) -> Manifest:
    return Manifest(number=1, texts=[*texts], applied_at=EARLIER, pinned=pinned)


def test_before_the_first_set_there_is_nothing_to_carry_on() -> None:
    assert carry_over(None, frozenset({"a"}), NOW) == {}


def test_a_set_carries_over_the_texts_that_it_and_earlier_sets_replaced() -> None:
    before = manifest("a", "b", old=EARLIER)
    assert carry_over(before, frozenset({"b", "c"}), NOW) == {"old": EARLIER, "a": NOW}


def test_a_text_that_returns_is_current_and_its_retention_restarts_when_it_is_replaced_again() -> None:
    before = manifest("a", b=EARLIER)
    assert carry_over(before, frozenset({"b"}), NOW) == {"a": NOW}
    assert carry_over(manifest("b", b=EARLIER), frozenset({"c"}), NOW) == {"b": NOW}


def test_texts_are_forgotten_after_400_days_and_of_too_many_the_oldest() -> None:
    limit = NOW - PINNED_FOR
    before = manifest(kept=limit, gone=limit - timedelta(seconds=1))
    assert carry_over(before, frozenset(), NOW) == {"kept": limit}
    many = {f"t{n}": EARLIER + timedelta(seconds=n) for n in range(MAX_PINNED)}
    assert carry_over(manifest("a", **many), frozenset(), NOW).keys() == {"a", *many} - {"t0"}


def test_a_manifest_without_pinned_texts_as_older_programs_wrote_it_is_read() -> None:
    raw = encode(manifest("a")).replace(b',"pinned":{}', b"")
    assert b"pinned" not in raw
    assert decode(Manifest, raw).pinned == {}
