"""Events told at a glance: whether one is plainly valid, whose it is and of which type, without its model.

On a stream of events most concern no rule, and the model is the larger part of what such an event costs. Sufficient,
not necessary: what is accepted here the model accepts with the same id, type and user; whatever else there is, the
model decides.
"""

import re
from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, MsgspecError, Struct, UnsetType
from msgspec.json import Decoder

_Text = Annotated[str, Meta(min_length=1, max_length=256)]
_Map = dict[str, Any] | UnsetType
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}")
_KNOWN_NAMES = 10_000


class PlainEvent(Struct, gc=False):
    """An event with the bounds of its model, as far as JSON types and lengths can say them."""

    id: _Text
    type: Annotated[str, Meta(max_length=128)]
    user_id: _Text
    time: Annotated[datetime, Meta(tz=True)]
    properties: _Map = UNSET
    context: _Map = UNSET
    source: Annotated[str, Meta(max_length=256)] = ""
    anonymous_id: _Text | None = None


_decode = Decoder(PlainEvent).decode
_names: set[str] = set()


def plain_event(raw: bytes | None) -> PlainEvent | None:
    """The event that `raw` carries where it is plainly valid and has a user, else None."""
    try:
        event = _decode(raw)  # type: ignore[arg-type]  # None is refused as anything else is
    except (MsgspecError, TypeError, ValueError, RecursionError):
        return None
    if (
        (event.type in _names or _is_name(event.type))
        and event.id.isprintable()
        and event.user_id.isprintable()
        and 1 < event.time.year < 9999  # beyond, some offsets lead out of what a date can be
        and (event.anonymous_id is None or event.anonymous_id.isprintable())
    ):
        return event
    return None


def _is_name(text: str) -> bool:
    if _NAME.fullmatch(text) is None:
        return False
    if len(_names) >= _KNOWN_NAMES:
        _names.clear()
    _names.add(text)
    return True
