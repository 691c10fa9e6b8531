"""Erased people are recognised by a keyed hash, which tells nothing without the key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.people import NO_KEY, NOBODY, PersonHasher, is_nobody


@given(st.text(), st.text(), st.binary(min_size=1))
def test_an_id_has_one_hash_under_a_key_and_others_have_another(one: str, other: str, secret: bytes) -> None:
    hasher = PersonHasher(secret)
    assert (hasher(one) == hasher(other)) == (one == other)
    assert hasher(one) != NO_KEY(one)
    assert hasher.key_id not in (hasher(one), NO_KEY.key_id)


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(PersonHasher(b"secret of the tests")).replace("secret=", "")


@pytest.mark.parametrize(("user_id", "nobody"), [(NOBODY, True), (f"{NOBODY}-3", True), ("erased", False)])
def test_nobody_is_who_stands_in_the_place_of_the_erased(user_id: str, nobody: bool) -> None:
    assert is_nobody(user_id) is nobody
