"""The answers of ingest. Each may be read by scripts of any page, and a refusal names the field and echoes nothing."""

import math
from collections.abc import Sequence
from typing import Any

import orjson

from web.http import Answer, failure
from web.ingest.reading import CallProblem, ItemRefusal

Headers = tuple[tuple[str, str], ...]

OPEN: Headers = (("access-control-allow-origin", "*"), ("access-control-expose-headers", "retry-after"))
"""Without the second, browsers hide `Retry-After` from the SDK, which then repeats at once."""
JSON: Headers = (("content-type", "application/json"), *OPEN)
CACHED: Headers = (*JSON, ("cache-control", "public, max-age=300"))
METHODS = "POST, GET, HEAD, OPTIONS"
PREFLIGHT = Answer(
    204,
    (
        *OPEN,
        ("access-control-allow-methods", METHODS),
        # `*` does not stand for `authorization`, and not every browser knows it
        ("access-control-allow-headers", "authorization, content-type, content-encoding, anonymousid, sentat, *"),
        ("access-control-max-age", "86400"),
    ),
)
_KEPT = Answer(200, JSON, b'{"success":true,"refused":[],"refused_items":0}')
AWAY_S = 5
"""When to come again while a server is away."""
FULL_S = 1
SHOWN = 100
"""How many refusals an answer lists."""


def document(value: Any) -> Answer:
    """A document that may be kept for some minutes."""
    return Answer(200, CACHED, orjson.dumps(value))


def kept(refused: Sequence[ItemRefusal], *, nothing: bool) -> Answer:
    """All items but the refused ones are durable: 200, or 400 if `nothing` but these is in the call."""
    if not refused:
        return _KEPT
    success = not nothing
    listed = [{"index": each.index, "field": each.field, "reason": each.reason} for each in refused[:SHOWN]]
    found: dict[str, Any] = {"success": success, "refused": listed, "refused_items": len(refused)}
    if success:
        return Answer(200, JSON, orjson.dumps(found))
    return Answer(400, JSON, orjson.dumps(found | {"code": 400, "message": "every item is refused"}))


def problem(found: CallProblem) -> Answer:
    """Nothing of the call can be read."""
    return _failed(found.status, found.field, found.reason)


def no_key() -> Answer:
    """The call carries no write key that is valid."""
    reason = "no valid write key, as the user name of Basic auth, in the body or in the query"
    return _failed(401, "writeKey", reason, ("www-authenticate", 'Basic realm="ebbtide"'))


def other_origin() -> Answer:
    """The page that makes the call may not use this key."""
    return _failed(403, "Origin", "this write key does not serve pages of this origin")


def no_such_path() -> Answer:
    """There is nothing at the path."""
    return _failed(404, "path", "there is no such call")


def other_method(allowed: str) -> Answer:
    """The path takes other methods."""
    return _failed(405, "method", f"this path takes {allowed}", ("allow", allowed))


def rate_limited(wait_s: float) -> Answer:
    """The key has sent as much as it may."""
    return _failed(429, "writeKey", "more than this write key may send", _after(math.ceil(wait_s)))


def overloaded() -> Answer:
    """More waits for Kafka than this process keeps."""
    return _failed(429, "", "too much waits to be written", _after(FULL_S))


def away() -> Answer:
    """A server does not answer. What the call holds may have been written; a repeat with the same ids is known."""
    return _failed(503, "", "a server is away; send the call again with the same ids", _after(AWAY_S))


def _after(seconds: int) -> tuple[str, str]:
    return "retry-after", str(max(1, seconds))


def _failed(status: int, field: str, reason: str, *more: tuple[str, str]) -> Answer:
    return failure(status, field, reason, (*OPEN, *more))
