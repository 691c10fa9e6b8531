"""A request and its answer, without a server: what every handler takes and gives."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import orjson


class Request(NamedTuple):
    """A whole request. Names of headers are in lower case. The path is percent-decoded, and what is not UTF-8 in it
    replaced; the query is as it was sent, without `?`."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    received_us: int
    """Microseconds since 1970."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def failure(status: int, field: str, message: str, headers: tuple[tuple[str, str], ...]) -> Answer:
    """An answer in JSON that names the field at fault and echoes nothing. SDKs log its `code` and `message`."""
    found = {"success": False, "field": field, "code": status, "message": message}
    return Answer(status, (("content-type", "application/json"), *headers), orjson.dumps(found))


Handler = Callable[[Request], Awaitable[Answer]]
