"""Events that are plainly valid, told without their model: the model takes fifteen times as long, and on a stream of
events most are plain and most concern no rule.

Sufficient, not necessary: what is accepted here the model accepts with the same values; whatever else there is, the
model decides.
"""

import re
from datetime import datetime
from typing import Any

import orjson

PlainEvent = dict[str, Any]
"""An event as JSON has it: id, type, user_id and time are texts that the model accepts."""

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3}(?:\d{3})?)?(?:Z|\+00:00)", re.ASCII)
_NONE: dict[str, Any] = {}


def plain_event(raw: bytes | None) -> PlainEvent | None:
    """The event that `raw` carries where it is plainly valid and has a user, else None."""
    try:
        data = orjson.loads(raw)  # type: ignore[arg-type]  # None is refused as anything else is
        name, kind, user, moment = data["id"], data["type"], data["user_id"], data["time"]
        if not (
            name.__class__ is user.__class__ is str
            and 0 < len(name) <= 256
            and 0 < len(user) <= 256
            and name.isprintable()
            and user.isprintable()
            and _TYPE.fullmatch(kind)
            and _MOMENT.fullmatch(moment)
            and data.get("properties", _NONE).__class__ is dict
        ):
            return None
        datetime.fromisoformat(moment)
        return data if len(data) <= 5 or _is_plain(data) else None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _is_plain(data: PlainEvent) -> bool:
    source, anonymous = data.get("source", ""), data.get("anonymous_id")
    if data.get("context", _NONE).__class__ is not dict or source.__class__ is not str or len(source) > 256:
        return False
    return anonymous is None or (0 < len(anonymous) <= 256 and anonymous.__class__ is str and anonymous.isprintable())
