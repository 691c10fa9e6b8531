"""Decodes plain events without their model, to tell quickly whose they are and which type they have.

Most events of a stream match no rule, and validation by the model is most of what such an event costs. An event that is
accepted here is accepted by the model with the same values. For every other event the model decides.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder

from schemas.bounds import may_hold_nul

_Text = Annotated[str, Meta(min_length=1, max_length=256)]
_Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""The model reads a wider number as a double, and this decoder would read it as an integer."""
_Value = _Number | float | str | bool | None
_Values = _Value | list[_Value] | dict[str, _Value]
_Nested = _Value | list[_Values] | dict[str, _Values]
_Map = dict[str, _Value | list[_Nested] | dict[str, _Nested]] | None
"""Nested as deep as events usually are. A deeper event is not plain."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}")
_KNOWN_NAMES = 10_000
_BACKSLASH = ord("\\")
"""As a number, which bytes are searched for in half the time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_Z, _MICROSECONDS_OFFSET = len("2026-11-24T10:00:00.123456Z"), len("2026-11-24T10:00:00.123456+00:00")


class PlainEvent(Struct, gc=False):
    """An event with the limits of `Event`, as far as JSON types and lengths express them.

    A shape of its own beside `Event`, because that model would be most of what an event costs that no rule reads.
    """

    id: _Text
    type: Annotated[str, Meta(max_length=128)]
    user_id: _Text
    time: Annotated[datetime, Meta(tz=True)]
    properties: _Map = None
    context: _Map = None
    source: Annotated[str, Meta(max_length=256)] | None = None
    anonymous_id: _Text | None = None


class _Moment(Struct, gc=False):
    time: str


_decode = Decoder(PlainEvent).decode
_decode_moment = Decoder(_Moment).decode
_names: set[str] = set()


def plain_event(raw: bytes | None) -> PlainEvent | None:
    """The event in `raw` if it is plainly valid and has a user; else None."""
    if raw is None or (_BACKSLASH in raw and may_hold_nul(raw)):  # saves the call for most events
        return None
    try:
        event = _decode(raw)
    except (MsgspecError, TypeError, ValueError, RecursionError):
        return None
    if (
        (event.type in _names or _is_name(event.type))
        and event.id.isprintable()
        and event.user_id.isprintable()
        and 1 < event.time.year < 9999  # beyond, some offsets lead out of datetime's range
        and (event.anonymous_id is None or event.anonymous_id.isprintable())
    ):
        return event
    return None


def plain_ms(event: PlainEvent, raw: bytes) -> int | None:
    """The event's time in whole milliseconds, as its model reads it; None if only the model can tell.

    The model truncates digits beyond microseconds and this decoder rounds them, so such a time is not plain.
    """
    text = _decode_moment(raw).time
    if len(text) > (_MICROSECONDS_Z if text[-1] in "Zz" else _MICROSECONDS_OFFSET):
        return None
    since = event.time - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _is_name(text: str) -> bool:
    if _NAME.fullmatch(text) is None:
        return False
    if len(_names) >= _KNOWN_NAMES:
        _names.clear()
    _names.add(text)
    return True
