"""Ids of users, visitors and messages: which ones are taken, and how a message's id is made one event's."""

import re
from hashlib import blake2b

from web.ingest.reading import Refused

LONGEST = 256
"""Characters, as `schemas.types.Id` has it."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EXACT = 2**53
NOBODY = frozenset(
    ["", "null", "Null", "NULL", "undefined", "None", "none", "nil", "NaN", "nan", "true", "false", "[object Object]"]
)
"""What programs write where an id is missing. The empty text counts as absent. The others are refused, since everybody
whose id was lost would be one user."""
_URL_OF_NOBODY = re.compile(r"@[a-z]+://")
"""An address made of no name and a server's URL, which one program sent for 200,000 users."""

RawId = str | int | float | None


def id_text(value: RawId, field: str) -> str | None:
    """An id as text, a number as its digits; None if it is absent, null or empty. Raises Refused."""
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else _digits(value, field)
    if text.isprintable() and len(text) <= LONGEST:
        return text
    if len(text) > LONGEST:
        raise Refused(field, f"has more than {LONGEST} characters")
    if _CONTROL.search(text):
        raise Refused(field, "has control characters")
    return text


def person_id(value: RawId, field: str) -> str | None:
    """As `id_text`, for the id of a user or a visitor: what stands for a missing id is refused."""
    if value is None:
        return None
    text = value if isinstance(value, str) and len(value) <= LONGEST and value.isprintable() else id_text(value, field)
    if not text:
        return None
    if text in NOBODY or (text[0] == "@" and _URL_OF_NOBODY.match(text)):
        raise Refused(field, "is no id but what a program writes where an id is missing")
    return text


def event_id(source: str, message_id: str) -> str:
    """The id of an event: a message's id counts within its source, since two sources may use the same.

    Readers of events tell ids apart for each user anyway.
    """
    scoped = f"{source}#{message_id}"
    return scoped if len(scoped) <= LONGEST else f"#{blake2b(scoped.encode(), digest_size=20).hexdigest()}"


def _digits(value: float, field: str) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return str(int(value))
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return str(value)
    raise Refused(field, "is not a whole number that can be told from its neighbours; send it as text")
