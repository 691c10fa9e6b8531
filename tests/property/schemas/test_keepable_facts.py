"""What the decoder accepts, every reader can keep: as JSON written by orjson and as `jsonb` in PostgreSQL."""

from collections.abc import Callable
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb, set_json_loads

from schemas.codec import DecodeError, decode, encode
from schemas.events import Event
from schemas.plain import plain_event
from schemas.profiles import Profile

HEAD = b'"id": "e1", "type": "t", "user_id": "u1", "time": "2026-11-24T10:00:00Z"'
ESCAPES = [
    rb"\u0000",
    rb"\\u0000",
    rb"\ud800",
    rb"\ude00",
    rb"\ud83d\ude00",
    b"\xff",
    b"\x00",
    b"\x7f",
    rb"\u0001",
    b"",
]
TEXTS = st.lists(st.one_of(st.sampled_from(ESCAPES), st.just(b"a")), max_size=3).map(
    lambda p: b'"' + b"".join(p) + b'"'
)
NUMBERS = st.sampled_from(
    [
        *(b"0", b"-0", b"1e308", b"1e309", b"-1e400", b"1e-400", b"5e-324", b"NaN", b"Infinity", b"-Infinity", b"01"),
        *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"9" * 400, b"0." + b"1" * 400),
    ]
)


def as_list(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def as_object(items: list[tuple[bytes, bytes]]) -> bytes:
    """An object, in which a key may come twice."""
    return b"{" + b",".join(name + b":" + value for name, value in items) + b"}"


def tower(levels: int, inside: bytes) -> bytes:
    return b"[" * levels + inside + b"]" * levels


JSON = st.recursive(
    st.one_of(TEXTS, NUMBERS, st.sampled_from([b"null", b"true", b"[", b"{}"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(as_list),
        st.lists(st.tuples(TEXTS, inner), max_size=3).map(as_object),
        st.builds(tower, st.sampled_from([3, 90, 99, 100, 200, 255, 1030]), inner),
    ),
    max_leaves=6,
)


def event_of(value: bytes) -> bytes:
    return b"{" + HEAD + b', "properties": {"x": ' + value + b"}}"


def accepted(model: Any, raw: bytes) -> Any:
    try:
        return decode(model, raw)
    except DecodeError:
        return None


@given(JSON)
def test_what_is_accepted_can_be_written_again_and_is_then_the_same(value: bytes) -> None:
    event = accepted(Event, event_of(value))
    if event is not None:
        assert decode(Event, encode(event)) == event


@given(JSON)
def test_what_is_plain_is_accepted_by_the_model_with_the_same_properties(value: bytes) -> None:
    plain = plain_event(event_of(value))
    if plain is not None:
        event = accepted(Event, event_of(value))
        assert event is not None
        assert event.properties == plain.properties


@pytest.fixture
def kept(database_url: str) -> Any:
    """Writes a value as `jsonb` and reads it back."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        set_json_loads(orjson.loads, connection)
        connection.execute("CREATE TEMP TABLE kept (value jsonb, line text)")

        def keep(value: Any, line: str | None) -> tuple[Any, str | None]:
            dumped = Jsonb(value, dumps=orjson.dumps)
            row = connection.execute("INSERT INTO kept VALUES (%s, %s) RETURNING *", [dumped, line]).fetchone()
            assert row is not None
            return row[0], row[1]

        yield keep


@pytest.mark.servers
@given(JSON, TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_accepted_of_a_profile_is_kept_by_postgresql(
    kept: Callable[[Any, str | None], tuple[Any, str | None]], value: bytes, locale: bytes
) -> None:
    raw = b'{"user_id": "u1", "attributes": {"x": ' + value + b'}, "locale": ' + locale + b"}"
    profile = accepted(Profile, raw)
    if profile is not None:
        assert kept(profile.attributes, profile.locale) == (profile.attributes, profile.locale)
