"""Event types from the names that people write: "Order Completed" is `order_completed`.

The rule: a name that is already in small letters and fits `Event.type` stays, so `cart.updated` does. Of any other
name, accents are taken off, words are told apart where a capital begins one, whatever is no letter or digit becomes one
`_`, and all letters become small. A name with letters or digits outside of a to z and 0 to 9 is refused and not
shortened: what is left could be another event's name.
"""

import re
import unicodedata
from typing import NamedTuple

import orjson

from web.ingest.reading import Refused

LONGEST = 256
"""Characters of a name as it is sent."""
_PLAIN = re.compile(r"[a-z][a-z0-9_.:/-]{0,127}")
_WORD_START = re.compile(r"(?<=[a-z0-9]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
"""After two small letters or digits, so that `iOS` and `iPhone` stay one word; and before the last capital of several
that begins a word, as in `HTTPRequest`."""
_ACCENT = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_FOREIGN = re.compile(r"[^\W\x00-\x7f]")
"""A letter or digit outside of ASCII."""
_BETWEEN = re.compile(r"[^A-Za-z0-9]+")
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,127}")
_KNOWN_NAMES = 4096
known_names: dict[str | None, "EventName"] = {}
"""Names that were asked for. None is never one."""


class EventName(NamedTuple):
    """An event's type, and the member of `context` that keeps its original name; empty if that is the same."""

    type: str
    note: bytes


def event_name(name: str | None, field: str) -> EventName:
    """The type of a name that was sent in `field`. Raises Refused with the reason."""
    return known_names.get(name) or _learnt(name, field)


def _learnt(name: str | None, field: str) -> EventName:
    if name is None:
        raise Refused(field, "is missing")
    event_type = _type_of(name, field)
    note = b"" if event_type == name else b'"original_name":' + orjson.dumps(name)
    if len(known_names) >= _KNOWN_NAMES:
        known_names.clear()
    return known_names.setdefault(name, EventName(event_type, note))


def _type_of(name: str, field: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    if not name.strip():
        raise Refused(field, "is empty")
    if len(name) > LONGEST:
        raise Refused(field, f"has more than {LONGEST} characters")
    if "\0" in name:
        raise Refused(field, "contains U+0000")
    plain = name if name.isascii() else _ACCENT.sub("", unicodedata.normalize("NFKD", name)).replace("ß", "ss")
    if _FOREIGN.search(plain):
        raise Refused(field, "has letters or digits other than a to z and 0 to 9")
    snake = _BETWEEN.sub("_", _WORD_START.sub("_", plain)).strip("_").lower()
    if not _TYPE.fullmatch(snake):
        raise Refused(field, "must begin with a letter and give a type of at most 128 characters")
    return snake
