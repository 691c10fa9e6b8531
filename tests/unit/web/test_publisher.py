"""The publisher's records, and what it says of events that nobody could read."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.codec import decode
from schemas.events import Event
from web.publisher import ANONYMOUS, InvalidEvent, event_record

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def an_event(**changes: Any) -> Event:
    fields = {"id": "e1", "type": "order_completed", "user_id": "ann", "time": NOON, "properties": {}, "context": {}}
    return Event.model_construct(**({"source": ""} | fields | changes))


def test_a_record_has_its_users_key_and_no_header():
    assert event_record(an_event(user_id="Zoë")).key == "Zoë".encode()
    assert event_record(an_event()).headers == {}


def test_an_event_of_an_unknown_visitor_belongs_to_the_visitor_and_is_marked():
    key, value, headers = event_record(an_event(user_id=None, anonymous_id="v-1"))
    written = decode(Event, value)
    assert (key, written.user_id, written.anonymous_id) == (b"v-1", "v-1", "v-1")
    assert headers == {ANONYMOUS: b"1"}


def test_an_event_of_nobody_has_no_key():
    nobodys = Event(id="e1", type="page_viewed", user_id=None, time=NOON)
    assert event_record(nobodys).key is None
    assert decode(Event, event_record(nobodys).value) == nobodys


def test_moments_and_other_values_that_json_has_no_type_for_are_written_as_texts():
    written = decode(Event, event_record(an_event(properties={"at": NOON})).value)
    assert written.properties == {"at": "2026-11-29T12:00:00Z"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"user_id": "secret\nname"}, "user_id: control characters"),
        ({"user_id": "s" * 257}, "user_id"),
        ({"type": "Order Completed"}, "type"),
        ({"properties": {"secret": "\0"}}, r"properties: contains U\+0000"),
        ({"properties": {"secret": "\ud800"}}, "cannot be written as JSON"),
        ({"properties": {"secret": object()}}, "cannot be written as JSON"),
        ({"properties": {"secret": b"\xff"}}, "cannot be written as JSON"),
        ({"properties": {"secret": 2**64}}, "cannot be written as JSON"),
        ({"time": NOON.replace(tzinfo=None)}, "time"),
    ],
)
def test_a_refusal_names_the_field_and_repeats_no_value(changes: dict[str, Any], named: str):
    with pytest.raises(InvalidEvent, match=named) as refused:
        event_record(an_event(**changes))
    assert "secret" not in str(refused.value)
    assert "sss" not in str(refused.value)
