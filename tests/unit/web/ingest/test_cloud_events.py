"""CloudEvents 1.0, held against the project's own SDK."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from drivers.ingest_calls import NOW, SERVER, outcome_of, read_back

from schemas.events import Event
from web.ingest.reading import CallProblem, Reading

MADE = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "/shop/orders",
    "type": "com.example.order.completed",
    "subject": "u1",
    "time": "2026-11-29T09:00:00Z",
}


def posted(message: HTTPMessage) -> Reading:
    headers = {name.lower(): value for name, value in message.headers.items()}
    reading = outcome_of("/v1/events", message.body, SERVER, headers)
    assert isinstance(reading, Reading)
    return reading


def structured(event: Any) -> Reading:
    return posted(HTTPMessage({"content-type": "application/cloudevents+json"}, json.dumps(event).encode()))


def only_event(reading: Reading) -> Event:
    assert reading.refused == []
    (record,) = reading.events
    return read_back(record)


def refused_field(reading: Reading) -> str:
    assert reading.is_empty
    (refusal,) = reading.refused
    return refusal.field


EVENTS = [
    CloudEvent(
        {"type": "a.b", "source": "/s", "id": "1", "subject": "u1", "time": NOW},
        {"total": 49.5, "items": [{"sku": "x"}]},
    ),
    CloudEvent({"type": "a.b", "source": "/s", "id": 'é % " 1', "subject": "ü 1", "time": NOW}, {}),
    CloudEvent(
        {
            **{"type": "order.completed", "source": "https://shop.example/ä", "id": "1", "subject": "u1"},
            **{"dataschema": "https://shop.example/schema", "datacontenttype": "application/json"},
            **{"traceparent": "00-4bf9-01", "sequence": "7", "time": datetime(2026, 11, 29, 8, 30, tzinfo=UTC)},
        },
        {"name": "Zoë"},
    ),
]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("to_http", [to_structured_event, to_binary_event])
def test_what_the_sdk_sends_is_the_event_that_it_holds(event: CloudEvent, to_http: Any) -> None:
    found = only_event(posted(to_http(event)))
    assert found.id == f"shop#{event.get_source()}#{event.get_id()}"
    assert found.type == event.get_type()
    assert found.user_id == event.get_subject()
    assert found.time == event.get_time()
    assert found.properties == event.get_data()
    own = {"specversion", "id", "type", "subject", "time", "datacontenttype"}
    assert found.context == {name: value for name, value in event.get_attributes().items() if name not in own}


def test_a_batch_is_its_events() -> None:
    bodies = [json.loads(to_structured_event(event).body) for event in EVENTS]
    body = json.dumps([*bodies, {"id": "1"}, 7]).encode()
    reading = posted(HTTPMessage({"content-type": "application/cloudevents-batch+json; charset=utf-8"}, body))
    assert [read_back(record).properties for record in reading.events] == [event.get_data() for event in EVENTS]
    assert [(each.index, each.field) for each in reading.refused] == [(3, "specversion"), (4, "item")]
    assert posted(HTTPMessage({"content-type": "application/cloudevents-batch+json"}, b" []")) == Reading()


def test_extensions_stand_in_the_context_with_their_types() -> None:
    event = only_event(structured(MADE | {"sampled": True, "priority": -7, "region": "eu", "absent": None}))
    assert event.context == {"source": "/shop/orders", "sampled": True, "priority": -7, "region": "eu"}


def test_without_a_time_it_is_the_time_received_and_without_data_there_are_no_properties() -> None:
    event = only_event(structured({name: value for name, value in MADE.items() if name != "time"}))
    assert (event.time, event.properties) == (NOW, {})
    assert only_event(structured(MADE | {"data": None})).properties == {}
    ahead = only_event(structured(MADE | {"time": "2026-12-29T09:00:00Z"}))
    assert (ahead.time, ahead.context["original_time"]) == (NOW, "2026-12-29T09:00:00+00:00")


def test_a_type_that_is_no_event_type_is_put_in_snake_case() -> None:
    event = only_event(structured(MADE | {"type": "Contoso.OrderCompleted"}))
    assert event.type == "contoso_order_completed"
    assert event.context["original_name"] == "Contoso.OrderCompleted"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"specversion": 1.0}, "specversion"),
        ({"id": ""}, "id"),
        ({"id": None}, "id"),
        ({"id": 7}, "id"),
        ({"source": None}, "source"),
        ({"source": "a\nb"}, "source"),
        ({"type": None}, "type"),
        ({"type": "日本語"}, "type"),
        ({"subject": None}, "subject"),
        ({"subject": ""}, "subject"),
        ({"subject": "undefined"}, "subject"),
        ({"time": "yesterday"}, "time"),
        ({"time": 1764000000}, "time"),
        ({"dataschema": 1}, "dataschema"),
        ({"data": [1]}, "data"),
        ({"data": "text"}, "data"),
        ({"data": {"a": "\0"}}, "data"),
        ({"data_base64": "e30="}, "data_base64"),
        ({"data_base64": None}, "data_base64"),
        ({"Ext": "x"}, "extension"),
        ({"": "x"}, "extension"),
        ({"ext_1": "x"}, "extension"),
        ({"ext": {}}, "extension"),
        ({"ext": 1.5}, "extension"),
        ({"ext": 2**31}, "extension"),
        ({"ext": 10**30}, "extension"),
        ({"ext": "\0"}, "context"),
    ],
)
def test_an_event_that_cannot_be_kept_is_refused_with_its_field(more: dict[str, Any], field: str) -> None:
    assert refused_field(structured(MADE | more)) == field


@pytest.mark.parametrize(
    ("headers", "body", "field"),
    [
        ({"ce-id": "%ff"}, b"{}", "id"),
        ({"ce-specversion": "2"}, b"{}", "specversion"),
        ({"ce-subject": ""}, b"{}", "subject"),
        ({"ce-a-b": "x"}, b"{}", "extension"),
        ({}, b"text", "data"),
        ({}, b'{} , "user_id":"u2"', "data"),
        ({}, b'{"a":1}{"b":2}', "data"),
        ({}, b"[1]", "data"),
        ({}, b"[" * 20_000, "data"),
        ({}, b'{"a":"' + b"x" * 40_000 + b'"}', "item"),
    ],
)
def test_a_binary_event_that_cannot_be_kept_is_refused_with_its_field(
    headers: dict[str, str], body: bytes, field: str
) -> None:
    made = {f"ce-{name}": value for name, value in MADE.items()} | headers
    assert refused_field(posted(HTTPMessage(made, body))) == field


def test_a_header_of_cloudevents_makes_an_event_binary_unless_its_media_type_says_otherwise() -> None:
    made = {f"ce-{name}": value for name, value in MADE.items() if name != "specversion"}
    assert refused_field(posted(HTTPMessage(made | {"content-type": "application/json"}, b"{}"))) == "specversion"
    both = HTTPMessage(made | {"content-type": "Application/CloudEvents+JSON"}, json.dumps(MADE | {"id": "2"}).encode())
    assert only_event(posted(both)).id == "shop#/shop/orders#2"


def test_quotes_around_a_header_are_not_part_of_it() -> None:
    headers = {f"ce-{name}": value for name, value in MADE.items()} | {"ce-ext": '"a \\"b\\" %C3%A9"'}
    assert only_event(posted(HTTPMessage(headers, b""))).context["ext"] == 'a "b" é'


@pytest.mark.parametrize("body", [b"[", b"[1,]", b"[" + b"1," * 10_000 + b"1]", b"[" * 100_000])
def test_a_batch_whose_events_cannot_be_told_apart_is_a_problem(body: bytes) -> None:
    assert isinstance(outcome_of("/v1/events", body), CallProblem)
