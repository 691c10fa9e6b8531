"""Calls of SDKs as the tests write them, and what ingest reads in them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from schemas.codec import decode
from schemas.events import Event
from web.ingest.calls import read
from web.ingest.paths import call_at
from web.ingest.reading import CallProblem, EventRecord, Reading
from web.ingest.rules import ReadingRules
from web.keys.write_key import KeyClass, WriteKey

SERVER = WriteKey("k1", KeyClass.SERVER, "shop")
BROWSER = WriteKey("k2", KeyClass.BROWSER, "web", origins=("https://shop.example",))
NOW = datetime(2026, 11, 29, 10, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
RULES = ReadingRules(make_id=lambda: "made")


def outcome_of(
    path: str,
    body: bytes,
    key: WriteKey = SERVER,
    headers: Mapping[str, str] | None = None,
    rules: ReadingRules = RULES,
) -> Reading | CallProblem:
    """What ingest reads in a body that is posted to a path."""
    call = call_at(path)
    assert call is not None, path
    return read(call, headers or {}, body, key, rules, NOW_US)


def reading_of(path: str, data: Any, key: WriteKey = SERVER, rules: ReadingRules = RULES) -> Reading:
    """The same for JSON whose items can be told apart."""
    outcome = outcome_of(path, json.dumps(data).encode(), key, rules=rules)
    assert isinstance(outcome, Reading), outcome
    return outcome


def event_of(path: str, data: Any, key: WriteKey = SERVER) -> Event:
    """The one event that a call gives, as every reader reads it."""
    reading = reading_of(path, data, key)
    assert reading.refused == []
    (record,) = reading.events
    return read_back(record)


def refusal_of(path: str, data: Any, key: WriteKey = SERVER) -> tuple[str, str]:
    """Field and reason of a single call of which nothing is taken."""
    reading = reading_of(path, data, key)
    assert reading.is_empty
    (refusal,) = reading.refused
    assert refusal.index == 0
    return refusal.field, refusal.reason


def read_back(record: EventRecord) -> Event:
    """The event in a record, which must be under its user's key."""
    event = decode(Event, record.value)
    assert event.user_id is not None
    assert record.key == event.user_id.encode()
    assert not record.anonymous or event.user_id == event.anonymous_id
    return event


def batch(*items: Any, **envelope: Any) -> bytes:
    """A batch of items, as bytes. An item of bytes stands there as it is."""
    parts = (each if isinstance(each, bytes) else orjson.dumps(each) for each in items)
    rest = b"".join(b",%s:%s" % (orjson.dumps(name), orjson.dumps(value)) for name, value in envelope.items())
    return b'{"batch":[%s]%s}' % (b",".join(parts), rest)


def track(event: str = "Order Completed", **fields: Any) -> dict[str, Any]:
    """A track call of user u1."""
    return {"type": "track", "event": event, "userId": "u1"} | fields
