"""The events of a visitor as events of the user that the visitor turned out to be. Pure."""

from typing import Any, NamedTuple

import orjson

from schemas.codec import DecodeError, parse_json
from schemas.vocabulary import DeadLetterCause

FORWARDED_FROM = "forwarded_from"
"""The member of the context that says whose event it was."""


class ForwardedEvent(NamedTuple):
    """An event for the outbox."""

    user_id: str
    anonymous_id: str
    event: bytes


def require_event(anonymous_id: str, raw: bytes | None) -> bytes:
    """The event of a visitor, if `forwarded` can read it. Raises DecodeError."""
    data = parse_json(raw)
    if not isinstance(data, dict) or data.get("user_id") != anonymous_id or raw is None:
        raise DecodeError(DeadLetterCause.MISROUTED, "the record's key is not its user_id")
    if not isinstance(data.get("context") or {}, dict):
        raise DecodeError(DeadLetterCause.INVALID, "context: not an object")
    return raw


def forwarded(anonymous_id: str, user_id: str, raw: bytes) -> ForwardedEvent:
    """The event under its own id and time as one of the user. The context says that it was forwarded."""
    data: dict[str, Any] = orjson.loads(raw)
    changed = {
        "user_id": user_id,
        "anonymous_id": data.get("anonymous_id") or anonymous_id,
        "context": {**(data.get("context") or {}), FORWARDED_FROM: anonymous_id},
    }
    return ForwardedEvent(user_id, anonymous_id, orjson.dumps(data | changed))
