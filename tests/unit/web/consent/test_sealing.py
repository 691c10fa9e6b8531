"""Entries open by their own key, and by no other."""

import pytest

from web.consent import sealing
from web.consent.entries import ConsentAnswer, ConsentChange, ConsentRow, chained, sealed_row
from web.consent.sealing import NotItsKey

PERSON, OTHER = b"p" * 32, b"o" * 32
CHANGE = ConsentChange(
    "ann", "marketing", ConsentAnswer.GRANTED, 1_764_400_000_000_001, "form", "7", "shop", "profiles[3]@17"
)
ROW = sealed_row(CHANGE, PERSON, b"s" * 16, 3, 0, 1_764_400_000_000_002)


def test_an_entry_is_read_by_its_key_and_tells_nothing_without():
    assert ROW.change(sealing.entry_key(PERSON, ROW.salt)) == CHANGE
    written = str(ROW.fields())
    assert not any(word in written for word in ("ann", "marketing", "form", "shop"))


def test_no_other_key_opens_an_entry():
    again = sealed_row(CHANGE, PERSON, b"t" * 16, 3, 1, 0)
    for key in (PERSON, sealing.entry_key(OTHER, ROW.salt), sealing.entry_key(PERSON, again.salt), b""):
        with pytest.raises(NotItsKey, match="another key"):
            ROW.change(key)


def test_a_seal_that_was_changed_does_not_open():
    forged = ConsentRow(
        3, 0, ROW.seen_us, ROW.person, ROW.salt, ROW.committed, bytes([ROW.sealed[0] ^ 1]) + ROW.sealed[1:]
    )
    with pytest.raises(NotItsKey, match="was changed"):
        forged.change(sealing.entry_key(PERSON, ROW.salt))


def test_a_person_has_one_pseudonym_and_two_people_have_two():
    assert sealing.pseudonym(PERSON) == ROW.person != sealing.pseudonym(OTHER)


def test_each_field_of_a_row_is_part_of_its_leaf():
    fields = ROW.fields()
    assert ConsentRow.of_fields(fields) == ROW
    for place, other in enumerate(("f", 4, 1, 5, "00", "00", "00", "00")):
        changed = [*fields[:place], other, *fields[place + 1 :]]
        if place == 0:
            with pytest.raises(ValueError, match="format"):
                ConsentRow.of_fields(changed)
        else:
            assert ConsentRow.of_fields(changed).leaf != ROW.leaf


@pytest.mark.parametrize(
    "fields", [None, [], ["ebbtide-consent-1", 1, 2, 3, "zz", "", "", ""], ["ebbtide-consent-1", "1", 2, 3, *[""] * 4]]
)
def test_what_is_no_row_is_refused(fields):
    with pytest.raises(ValueError, match="row"):
        ConsentRow.of_fields(fields)


def test_a_chain_depends_on_the_order():
    first, second = b"1" * 32, b"2" * 32
    assert chained(chained(b"", first), second) != chained(chained(b"", second), first)
