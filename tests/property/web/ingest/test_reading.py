"""Whatever is sent, nothing is raised, and what is accepted is an event at home in its partition."""

import gzip
from typing import Any

import orjson
from drivers.ingest_calls import BROWSER, RULES, SERVER, batch, outcome_of, read_back
from hypothesis import assume, example, given
from hypothesis import strategies as st

from web.ingest.credentials import written_key
from web.ingest.inflation import inflated
from web.ingest.paths import call_at
from web.ingest.reading import CallProblem, Reading

PATHS = [*(f"/v1/{name}" for name in "tipsgab"), "/v1/events", "/beacon/v1/batch"]
TEXTS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["u1", "Order Completed", "track", "identify", "page", "a\0", "x" * 257, "1.0"]),
)
NUMBERS = st.one_of(
    st.sampled_from([b"1e400", b"-0.0", b"1e22", b"0" * 3, b"9" * 400, b"NaN", b"1" + b"0" * 5000]),
    st.integers().map(lambda number: b"%d" % number),
    st.floats().map(lambda number: repr(number).encode()),
)
STRINGS = st.one_of(
    TEXTS.map(orjson.dumps),
    st.sampled_from([b'"\\ud800"', b'"\xff"', b'"\\u0000"', b'"\\', b'"a\nb"', b'"\\x"']),
)
SCALARS = st.one_of(NUMBERS, STRINGS, st.sampled_from([b"null", b"true", b"false", b"", b"nul", b"{", b"]", b" "]))


def array(parts: list[bytes]) -> bytes:
    return b"[%s]" % b",".join(parts)


def object_of(members: list[tuple[bytes, bytes]]) -> bytes:
    return b"{%s}" % b", ".join(b"%s: %s" % member for member in members)


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(array), st.lists(st.tuples(STRINGS, inner), max_size=3).map(object_of)
    ),
    max_leaves=6,
)
DEEP = st.integers(90, 300).flatmap(
    lambda levels: st.sampled_from([b"[" * levels + b"]" * levels, b'{"a":' * levels + b"1" + b"}" * levels])
)
FIELDS = st.sampled_from(
    [
        *("type", "event", "name", "category", "userId", "anonymousId", "previousId", "groupId", "messageId"),
        *("timestamp", "originalTimestamp", "sentAt", "properties", "context", "traits", "unknown"),
        *("specversion", "id", "source", "subject", "time", "data", "data_base64", "ext", "user_id"),
    ]
).map(orjson.dumps)
MEMBERS = st.lists(st.tuples(FIELDS, st.one_of(VALUES, DEEP)), max_size=3)
GOOD: list[dict[str, Any]] = [
    {
        "type": "track",
        "event": "Order Completed",
        "userId": "u1",
        "messageId": "m1",
        "timestamp": "2026-11-29T09:00:00Z",
    },
    {"type": "page", "name": "Home", "anonymousId": "v1", "properties": {"url": "/"}, "context": {"ip": "192.0.2.1"}},
    {"type": "group", "groupId": "g1", "userId": "u1", "traits": {"plan": "pro"}},
    {"type": "identify", "userId": "u1", "anonymousId": "v1", "traits": {"email": "a@b.example", "x": [1]}},
    {"type": "alias", "userId": "u1", "previousId": "v1"},
    {"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b", "subject": "u1", "data": {"a": 1}, "ext": 7},
]
ITEMS = st.one_of(
    st.tuples(st.sampled_from(GOOD), MEMBERS).map(  # the last of two members counts
        lambda pair: orjson.dumps(pair[0])[:-1] + b"".join(b",%s:%s" % member for member in pair[1]) + b"}"
    ),
    MEMBERS.map(object_of),
    VALUES,
)
BODIES = st.one_of(
    ITEMS,
    st.lists(ITEMS, max_size=4).map(lambda items: batch(*items)),
    st.lists(ITEMS, max_size=4).map(array),
    st.binary(max_size=40),
    st.tuples(st.sampled_from(GOOD).map(orjson.dumps), st.integers(0, 200), st.binary(max_size=3)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] :]
    ),
)
HEADERS = st.one_of(
    st.just({}),
    st.dictionaries(
        st.sampled_from(
            [f"ce-{name}" for name in ("specversion", "id", "source", "type", "subject", "time", "ext", "x-y")]
        ),
        st.one_of(
            st.sampled_from(["1.0", "u1", "a.b", "%C3%A9", "%ff", '"x"', "2026-11-29T09:00:00Z"]), st.text(max_size=4)
        ),
    ),
    st.just({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "a.b", "ce-subject": "u1"}),
)


@given(st.sampled_from(PATHS), BODIES, HEADERS, st.sampled_from([SERVER, BROWSER]))
@example("/v1/t", b'{"event":"a","userId":"u1","properties":{"a":1}, "user_id":"u2"}', {}, SERVER)
@example("/v1/events", b'{}, "user_id":"u2"', {"ce-specversion": "1.0", "ce-id": "1", "ce-subject": "u1"}, SERVER)
def test_what_is_accepted_is_readable_and_nothing_is_raised(
    path: str, body: bytes, headers: dict[str, str], key: Any
) -> None:
    written_key(headers, "", body)
    outcome = outcome_of(path, body, key, headers)
    if isinstance(outcome, CallProblem):
        assert outcome.status in (400, 413)
        return
    for record in outcome.events:
        event = read_back(record)
        assert event.source == key.source
        assert len(record.value) < 2 * RULES.item_bytes
    if key is BROWSER:
        assert outcome.patches == []
    assert [each.index for each in outcome.refused] == sorted({each.index for each in outcome.refused})
    assert all(each.field and each.reason for each in outcome.refused)


NEARLY_USUAL = st.fixed_dictionaries(
    {
        "event": st.one_of(st.sampled_from(["Order Completed", "signed_up"]), TEXTS).map(orjson.dumps),
        "userId": st.one_of(st.just(b'"u1"'), SCALARS),
        "messageId": st.one_of(
            st.just(b'"m1"'), STRINGS, st.integers(200, 300).map(lambda length: b'"%s"' % (b"m" * length))
        ),
        "timestamp": st.sampled_from(
            [
                *(b"null", b'""', b'"x"', b"7", b'"0001-01-01T00:00:00Z"', b'"9999-12-31T00:00:00Z"'),
                *(
                    b'"2026-11-29T%s"' % rest
                    for rest in (b"09:00:00Z", b"09:00:00.1+00:00", b"11:00:00+02:00", b"10:06:00Z")
                ),
            ]
        ),
    },
    optional={
        "anonymousId": st.one_of(st.just(b'"v1"'), SCALARS),
        "properties": st.one_of(
            st.just(b'{"a": [1, {"b": "\\n"}]}'), VALUES, DEEP, st.just(b'{"a":"%s"}' % (b"x" * 33_000))
        ),
        "context": st.one_of(st.sampled_from([b"{}", b"{ }", b'{"ip":"x" }', b"null"]), VALUES),
    },
)


@given(NEARLY_USUAL)
def test_the_quick_reading_of_usual_tracks_gives_what_the_careful_one_gives(fields: dict[str, bytes]) -> None:
    usual = [(b'"type"', b'"track"'), *((b'"%s"' % name.encode(), value) for name, value in fields.items())]
    careful = [*usual, (b'"sentAt"', b'"not read"')]
    quick, slow = (outcome_of("/v1/batch", batch(object_of(item))) for item in (usual, careful))
    assert isinstance(quick, Reading) is isinstance(slow, Reading)
    if isinstance(quick, Reading) and isinstance(slow, Reading):
        assert quick.events == slow.events
        assert len(quick.refused) == len(slow.refused)  # of two wrong fields, either may be named


@given(st.lists(ITEMS, max_size=6))
def test_an_item_of_a_batch_gives_what_it_gives_alone(items: list[bytes]) -> None:
    assume(b"1e400" not in b"".join(items))  # beside an item that is no JSON, it is refused in unread fields too
    together = outcome_of("/v1/batch", batch(*items))
    alone = [outcome_of("/v1/batch", batch(item)) for item in items]
    if not isinstance(together, Reading) or not all(isinstance(each, Reading) for each in alone):
        return
    assert list(map(read_back, together.events)) == [read_back(record) for each in alone for record in each.events]
    assert len(together.refused) == sum(len(each.refused) for each in alone)


@given(
    st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(gzip.compress)),
    st.binary(max_size=5),
    st.text(max_size=6),
)
def test_inflation_gives_a_body_within_its_bound_or_a_problem(body: bytes, more: bytes, encoding: str) -> None:
    found = inflated(body + more, encoding, 50)
    assert isinstance(found, CallProblem) or len(found) <= 50


@given(st.text(max_size=20))
def test_every_path_is_a_call_or_none(path: str) -> None:
    assert call_at(path) is call_at(path + "/")
