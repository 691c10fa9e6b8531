"""Requests of every kind of wrong, for hypothesis: calls of SDKs with one thing or many things wrong, and bytes."""

import base64
import gzip
import json
import zlib
from typing import Any

from hypothesis import strategies as st

PATHS = [
    *(f"/v1/{name}" for name in ("track", "identify", "page", "screen", "group", "alias", "batch", "import", "events")),
    *(f"/v1/{letter}" for letter in "tipsgab"),
    *(
        "/beacon/v1/batch",
        "/v1/projects/KEY/settings",
        "/v1/users/ann",
        "/v1/users/%00",
        "/sourceConfig/",
        "/openapi.json",
    ),
    *(
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v1/../v1/track",
        "/v1/track/",
        "/%",
        "/%ff",
        "*",
        "http://other/v1/track",
        "/v1/track?x=%zz",
    ),
    *("/o/AAAA", "/c/AAAA", "/u/AAAA", "/p/AAAA", "/" + "x" * 5000),
]
METHODS = [
    "POST",
    "POST",
    "POST",
    "GET",
    "HEAD",
    "OPTIONS",
    "PUT",
    "DELETE",
    "TRACE",
    "CONNECT",
    "PRI",
    "post",
    "X" * 100,
]
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "ann", "\x00", "a\nb", "@https://x", "é" * 300, "null", "Order Completed", "日本語", "2026-11-29T10:00:00"]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
NAMES = [
    *("type", "event", "userId", "anonymousId", "previousId", "groupId", "messageId", "timestamp", "sentAt", "name"),
    *("originalTimestamp", "properties", "traits", "context", "integrations", "writeKey", "batch", "category"),
]
KINDS = ["track", "identify", "page", "screen", "group", "alias", "batch", "nothing"]
ITEMS = st.one_of(
    st.dictionaries(st.one_of(st.sampled_from(NAMES), TEXTS), VALUES, max_size=8),
    st.fixed_dictionaries(
        {"type": st.sampled_from(KINDS), "event": TEXTS, "userId": st.one_of(TEXTS, VALUES)},
        optional={"properties": VALUES, "traits": VALUES, "context": VALUES, "timestamp": VALUES, "messageId": VALUES},
    ),
    VALUES,
)
CALLS = st.one_of(
    ITEMS,
    st.fixed_dictionaries({"batch": st.one_of(st.lists(ITEMS, max_size=6), VALUES)}, optional={"sentAt": VALUES}),
)
STRANGE_JSON = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'{"batch":[{"type":"track","event":"x","userId":"u","properties":{"a":1e400}}]}',
    b'{"type":"track","event":"x","userId":"u","properties":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b"[" * 200_000,
    b'{"userId":"\xff\xfe","event":"x"}',
    b'{"userId":"\\ud800","event":"x"}',
    b'{"userId":1,"userId":2,"event":"x"}',
    b"\xef\xbb\xbf{}",
    b'{"event":"x","userId":"u","properties":{"n":' + b"9" * 5000 + b"}}",
]
BODIES = st.one_of(
    CALLS.map(lambda call: json.dumps(call).encode()), st.sampled_from(STRANGE_JSON), st.binary(max_size=200)
)
ENCODINGS: list[tuple[str, Any]] = [
    ("", lambda body: body),
    ("gzip", gzip.compress),
    ("gzip", lambda body: gzip.compress(body)[:-5]),
    ("gzip", lambda body: gzip.compress(body) + gzip.compress(body)),
    ("gzip", lambda body: body),
    ("deflate", zlib.compress),
    ("br", lambda body: body),
    ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    ("GZIP\x0b", gzip.compress),
]
CONTENT_TYPES = [
    *(
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "\xff",
    ),
    *("application/cloudevents+json", "application/cloudevents-batch+json", "application/cloudevents+xml"),
]
HEADERS = [
    *("Expect: 100-continue", "Origin: https://shop.example", "Origin: null", "Origin: " + "x" * 3000, "Cookie: a=b"),
    *("ce-id: 1", "ce-type: %00", "ce-source: /x", "ce-specversion: 1.0", "ce-subject: %ff", "ce-time: never", ": x"),
    *("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization", "no colon", "a b: c"),
    *("Content-Length: 5", "Content-Length: -1", "Content-Length: 99999999999999999999", "Content-Length: 3, 3"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Upgrade: websocket", "Connection: Upgrade"),
    *("Host: ", "Host: a@b:c", "X: \x00", "X: \r\n folded", "Authorization: Basic ====", "Authorization: Bearer x"),
    "Authorization: Basic " + base64.b64encode(b"\xff:").decode(),
]


@st.composite
def requests(draw: st.DrawFn, key: str) -> bytes:
    """A whole request; most carry this key."""
    body = draw(BODIES)
    encoding, encode = draw(st.sampled_from(ENCODINGS))
    body = encode(body)
    lines = [f"{draw(st.sampled_from(METHODS))} {draw(st.sampled_from(PATHS))} HTTP/1.1", "Host: 127.0.0.1"]
    if draw(st.integers(0, 4)):
        lines.append("Authorization: Basic " + base64.b64encode(f"{key}:".encode()).decode())
    lines.append(f"Content-Type: {draw(st.sampled_from(CONTENT_TYPES))}")
    if encoding:
        lines.append(f"Content-Encoding: {encoding}")
    lines += draw(st.lists(st.sampled_from(HEADERS), max_size=2))
    lines += [f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@st.composite
def broken_bytes(draw: st.DrawFn, key: str) -> bytes:
    """Bytes that are no request, or one that is cut off, doubled or changed."""
    data = bytearray(draw(st.one_of(requests(key), st.binary(min_size=1, max_size=100))))
    for place, byte in draw(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=5)):
        data[place % len(data)] = byte
    cut = draw(st.one_of(st.none(), st.integers(1, len(data))))
    return bytes(data[:cut]) * draw(st.sampled_from([1, 1, 2]))
