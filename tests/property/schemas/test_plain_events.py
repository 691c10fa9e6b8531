"""What is told without the model is what the model says: of events, decisions and commands."""

from datetime import UTC, datetime
from typing import Any

import orjson
from drivers.trigger_world import World, at
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.codec import DecodeError, decode, encode
from schemas.events import Event
from schemas.plain import plain_event, plain_ms
from triggers.cel.runtime import as_ms
from triggers.rules.events import stored_event, stored_plain_event

TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(["e1", "u1", "é", "a b", "a\x00b", "\u2028", "x" * 256, "x" * 257])
)
TYPES = st.one_of(
    st.sampled_from(["page_viewed", "a.b:c/d-e", "1st", "", "A" * 128, "A" * 129, "é"]), st.text(max_size=5)
)
MOMENTS = st.one_of(
    st.sampled_from(
        [
            *("2026-11-24T10:00:00Z", "2026-11-24T10:00:00.123Z", "2026-11-24T10:00:00.123456+00:00"),
            *("2026-11-24T10:00:00", "2026-11-24 10:00:00Z", "2026-W48-2T10:00:00Z", "20261124T100000Z"),
            *("0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "2026-11-24t10:00:00.123456789z"),
            *("2026-02-30T10:00:00Z", "2026-11-24T24:00:00Z", "2026-11-24T10:00:60Z", "0000-01-01T00:00:00Z"),
            *("2026-11-24T10:00:00,123Z", "٢026-11-24T10:00:00Z", "2026-11-24T10:00:00+02:00", "now", "1764000000"),
        ]
    ),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.integers(-(2**53), 2**53),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=4,
)
ANYTHING = st.one_of(VALUES, TEXTS)
EVENTS = st.fixed_dictionaries(
    {"id": TEXTS, "type": TYPES, "user_id": st.one_of(TEXTS, st.none()), "time": MOMENTS},
    optional={
        "properties": st.one_of(st.dictionaries(st.text(max_size=3), VALUES, max_size=2), ANYTHING),
        "context": st.one_of(st.just({}), ANYTHING),
        "source": st.one_of(TEXTS, ANYTHING),
        "anonymous_id": st.one_of(TEXTS, ANYTHING),
        "more": ANYTHING,
    },
)


def of_the_model(raw: bytes) -> Event | None:
    try:
        return decode(Event, raw)
    except DecodeError:
        return None


@given(st.one_of(EVENTS.map(orjson.dumps), VALUES.map(orjson.dumps), st.binary(max_size=20)))
def test_a_plain_event_is_one_that_the_model_accepts_with_the_same_values(raw: bytes) -> None:
    plain = plain_event(raw)
    if plain is None:
        return
    event = of_the_model(raw)
    assert event is not None, raw
    assert (event.id, event.type, event.user_id) == (plain.id, plain.type, plain.user_id)
    assert (event.source, event.anonymous_id) == (plain.source or "", plain.anonymous_id)
    assert event.properties == (plain.properties or {})
    assert plain_ms(plain, raw) in (as_ms(event.time), None)


def test_an_event_with_null_for_all_that_may_be_absent_is_plain() -> None:
    nulls = b'"properties": null, "context": null, "source": null, "anonymous_id": null}'
    raw = b'{"id": "e1", "type": "t", "user_id": "u1", "time": "2026-11-24T10:00:00Z", ' + nulls
    plain = plain_event(raw)
    event = of_the_model(raw)
    assert plain is not None
    assert event is not None
    assert (event.properties, event.context, event.source) == ({}, {}, "")
    assert stored_plain_event(plain, raw) == stored_event(event)


def test_what_a_publisher_writes_is_plain() -> None:
    made = Event(id="e1", type="page_viewed", user_id="u1", time=datetime.now(UTC), properties={"a": 1}, source="web")
    plain = plain_event(encode(made))
    assert plain is not None
    assert plain_ms(plain, encode(made)) == as_ms(made.time)
    assert plain_event(None) is None


def test_a_time_finer_than_microseconds_is_left_to_the_model() -> None:
    fine = b'{"id": "e1", "type": "t", "user_id": "u1", "time": "2026-11-24T10:00:00.1229999999Z"}'
    plain = plain_event(fine)
    assert plain is not None
    assert plain_ms(plain, fine) is None


@given(
    st.one_of(st.integers(-(2**70), 2**70), st.sampled_from([2**63, 2**63 - 1, -(2**63), -(2**63) - 1, 10**400])),
    st.sampled_from(['{"n": %d}', '{"n": [1, {"m": %d}]}', '{"n": "1", "m": [[[%d]]]}']),
)
def test_a_number_of_more_than_64_bits_is_left_to_the_model(number: int, properties: str) -> None:
    body = properties % number
    raw = f'{{"id": "e1", "type": "t", "user_id": "u1", "time": "2026-11-24T10:00:00Z", "properties": {body}}}'.encode()
    assert (plain_event(raw) is not None) is (-(2**63) <= number < 2**63)


RULES = """
score: s
decay: {curve: exponential, half_life: 1d}
add: {event: ping, points: 1}
---
trigger: t
purpose: marketing
on: ping
when: score.s > 0 && event.n < 3
cap: {max: 2, per: 1d, over: defer}
quiet: {from: "21:00", to: "08:00"}
experiment: {variants: {a: 1, b: 1}}
goal: {event: pong, within: 1d}
send: {template: a, to: event.mail, data: {n: event.n, none: event.nothing}}
---
trigger: r
mode: shadow
purpose: transactional
on: ping
send: {template: b, data: {when: event.time}}
"""


@given(
    st.lists(
        st.tuples(st.sampled_from(["ping", "pong"]), st.integers(0, 30), st.integers(0, 4), st.booleans(), VALUES),
        min_size=1,
        max_size=8,
    )
)
def test_decisions_and_commands_are_written_as_their_models_would_be(happened: list[tuple[Any, ...]]) -> None:
    world, now = World(RULES), at("2026-01-05 10:00")
    for name, hours, n, wrong, nothing in happened:
        now += hours * 3_600_000 + 123
        mail = "no address" if wrong else "other@example.org"
        effects = world.event(now, name, n=n, mail=mail, nothing=nothing)
        assert [record.decision_json() for record in effects.records] == [encode(each) for each in effects.decisions]
        written = [record.command_json() for record in effects.records]
        assert [each for each in written if each is not None] == [encode(each) for each in effects.commands]


SECONDS = st.sampled_from(["0002-01-02T00:00:00", "2026-01-05T23:59:59", "2026-12-31T23:59:59", "9998-12-30T12:00:00"])
DIGITS = st.text("0123456789", max_size=6)
NEAR = st.builds("{}{}{}".format, st.text("0123456789", max_size=3), st.sampled_from(["999", "9995", "9994"]), DIGITS)
FRACTIONS = st.one_of(st.text("0123456789", min_size=1, max_size=12), NEAR)


@settings(deadline=None)
@given(SECONDS, FRACTIONS, st.sampled_from(["Z", "z", "+02:00", "-00:30"]), st.booleans())
@example("2026-01-05T23:59:59", "1239996", "Z", False)
@example("2026-12-31T23:59:59", "9999999", "Z", True)
def test_the_milliseconds_of_any_fraction_are_those_of_the_model_or_unknown(
    seconds: str, fraction: str, zone: str, escaped: bool
) -> None:
    text = f"{seconds}.{fraction}{zone}"
    if escaped:
        text = "".join(f"\\u{ord(each):04x}" if each in "95" else each for each in text)
    raw = b'{"id":"e1","type":"t","user_id":"u","time":"%b"}' % text.encode()
    plain = plain_event(raw)
    assert plain is not None
    assert plain_ms(plain, raw) in (as_ms(decode(Event, raw).time), None)
    assert len(fraction) > 6 or plain_ms(plain, raw) is not None
