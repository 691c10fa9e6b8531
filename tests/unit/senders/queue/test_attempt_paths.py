"""The ways of mails are few, whatever many mails take them."""

import json

from senders.queue.attempt_paths import FRESH_S, MAX_KNOWN, PathBook


def test_the_same_way_is_one_object_without_what_is_not_known() -> None:
    book = PathBook()
    one = book.path(0.0, source="a", host="mx.example", tls=None)

    assert book.path(1.0, source="a", host="mx.example", tls=None) is one
    assert book.path(1.0, source="b", host="mx.example", tls=None) is not one
    assert json.loads(one.text) == {"source": "a", "host": "mx.example"}


def test_a_way_is_stored_again_after_a_while_so_that_it_does_not_look_old() -> None:
    book = PathBook()
    book.path(0.0, source="a").number = 7

    assert book.path(FRESH_S + 1, source="a").number is None


def test_no_more_ways_are_kept_in_memory_than_allowed() -> None:
    book = PathBook()
    first = book.path(0.0, source="0")
    for number in range(1, MAX_KNOWN + 1):
        book.path(0.0, source=str(number))

    assert book.path(0.0, source="0") is not first
