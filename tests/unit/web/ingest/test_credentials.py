"""Where a call carries its write key."""

from base64 import b64encode

import pytest

from web.ingest.credentials import written_key


def basic(user: str, password: str = "") -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "query", "body", "key"),
    [
        (basic("key"), "writeKey=other", b'{"writeKey":"third"}', "key"),
        ({"authorization": basic("key")["authorization"].replace("Basic", "basic ")}, "", b"", "key"),
        ({}, "writeKey=other", b'{"batch":[],"writeKey":"key"}', "key"),
        ({}, "a=1&writeKey=k%2By", b"[]", "k+y"),
        ({}, "writeKey=key", b'{"writeKey":""}', "key"),
        ({}, "writeKey=key", b'{"writeKey":null}', "key"),
        (basic(""), "", b'{"writeKey":"key"}', "key"),
        ({"authorization": "Basic !"}, "", b'{"writeKey":"key"}', "key"),
        ({"authorization": "Basic /w=="}, "writeKey=key", b"", "key"),
        ({"authorization": "Bearer a2V5Og=="}, "", b"", None),
        ({}, "", b'{"writeKey":7}', None),
        ({}, "", b'{"writeKey":"key"', None),
        ({}, "", b'{"writeKey":' + b"[" * 100_000, None),
        ({}, "writeKey=", b"", None),
        ({}, "&".join("abcdefghijklmnopqrstuvwxyz") + "&writeKey=key", b"", None),
        (basic("k" * 257), "", b"", None),
        ({}, "", b"", None),
    ],
)
def test_the_key_is_taken_from_basic_auth_else_the_body_else_the_query(
    headers: dict[str, str], query: str, body: bytes, key: str | None
) -> None:
    assert written_key(headers, query, body) == key
