"""The description of ingest says what ingest reads."""

from typing import Any

import msgspec
import pytest
from drivers.ingest_calls import NOW, reading_of

from web.ingest import openapi as described
from web.ingest.items import CallBatch, Item
from web.ingest.openapi import openapi
from web.ingest.paths import CallKind, call_at

IDS = {"userId": "u1", "anonymousId": "v1", "messageId": "m1", "timestamp": NOW.isoformat(), "sentAt": NOW.isoformat()}
CALLS: dict[str, dict[str, Any]] = {
    "TrackBody": {"event": "Order Completed", "properties": {"total": 1}, "context": {"ip": "192.0.2.1"}},
    "PageBody": {"name": "Home", "category": "Docs", "properties": {}},
    "IdentifyBody": {"traits": {"plan": "pro"}},
    "GroupBody": {"groupId": "g1", "traits": {"plan": "pro"}},
    "AliasBody": {"previousId": "v1"},
}


def schema_of(operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    content = operation["requestBody"]["content"]
    name = next(iter(content.values()))["schema"]["$ref"].rpartition("/")[2]
    return name, openapi()["components"]["schemas"][name]


def test_every_call_is_described_at_its_path() -> None:
    assert {call_at(path) for path in openapi()["paths"]} == set(CallKind)


def test_every_reference_is_to_a_model_that_is_there() -> None:
    known = openapi()["components"]["schemas"]
    text = msgspec.json.encode(openapi()).decode()
    assert {each.partition('"')[0] for each in text.split("#/components/schemas/")[1:]} == set(known)


def test_every_field_that_is_described_is_read() -> None:
    read = {each.encode_name for struct in (Item, CallBatch) for each in msgspec.structs.fields(struct)} | {"writeKey"}
    for path, operations in openapi()["paths"].items():
        if call_at(path) is not CallKind.CLOUD_EVENTS:
            _, schema = schema_of(operations["post"])
            assert set(schema["properties"]) <= read, path


@pytest.mark.parametrize("path", [path for path in openapi()["paths"] if call_at(path) not in ("batch", "cloudevents")])
def test_a_call_that_fills_its_description_is_taken(path: str) -> None:
    name, schema = schema_of(openapi()["paths"][path]["post"])
    call = IDS | CALLS[name]
    model = getattr(described, name)
    model.model_validate(call)
    assert set(call) | {"originalTimestamp", "context"} >= set(schema["properties"])
    reading = reading_of(path, call)
    assert not reading.is_empty
    assert reading.refused == []
