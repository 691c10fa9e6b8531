"""The shapes of the language that are written as one value, each with its form and its JSON Schema.

The patterns are those that the loader reads values with.
"""

import re
from collections.abc import Mapping
from typing import get_args

from schemas.brands import DOMAIN, SELECTOR
from schemas.endpoints import MAX_URL, RATE
from schemas.types import NAME
from schemas.vocabulary import Reason
from triggers.language.case_time import AT, START
from triggers.language.declarations import ScalarShape
from triggers.measures.shapes import CLOCK, DATE, DURATION, MAX_DURATION_DAYS, PERCENT, WEEKDAYS, CalendarUnit
from triggers.rules.rule import Mode

IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
MAX_TEXT = 4_000
CANARY = "canary "
MODES = tuple(f"{CANARY}N%" if mode == "canary" else mode for mode in get_args(Mode))


def _pattern(*texts: str) -> str:
    """A pattern of JSON Schema for one of the texts as a whole: ECMAScript's groups have no names of Python's form."""
    return re.sub(r"\(\?P<\w+>", "(?:", f"^(?:{'|'.join(texts)})$")


def _text(*texts: str) -> dict[str, str]:
    return {"type": "string", "pattern": _pattern(*texts)}


_LENGTH = rf"(?=\d){DURATION}"

SCALARS: Mapping[str, ScalarShape] = {
    "GIVEN": ScalarShape(
        "An event with its properties, `user` with what changes of the profile, or `all` with an event without a user.",
        '{at: "10:00", EVENT: {…}}',
        {
            "type": "object",
            "required": ["at"],
            "minProperties": 2,
            "maxProperties": 2,
            "properties": {"at": {"$ref": "#/$defs/TIME"}},
            "additionalProperties": {"type": "object"},
        },
    ),
    "EXPR": ScalarShape(
        "An expression in CEL.",
        "event.total >= 20 && !user.vip",
        {"type": ["string", "number", "boolean"]},
    ),
    "DURATION": ScalarShape(
        f"Exact elapsed time; a day is 24 h. At most {MAX_DURATION_DAYS} days.",
        "90s, 15m, 1h30m, 3d, 2w",
        _text(_LENGTH),
    ),
    "WINDOW": ScalarShape(
        "The last so long, open at its old end; or the user's local day, ISO week or month.",
        "3d, calendar day, calendar week, calendar month",
        _text(_LENGTH, f"calendar (?:{'|'.join(get_args(CalendarUnit))})"),
    ),
    "PERCENT": ScalarShape("A share.", "10%", _text(PERCENT)),
    "MODE": ScalarShape(
        "Stopped; recorded only; for a share of users, and recorded for the others; or for everybody.",
        "off, shadow, canary 5%, live",
        _text(*(mode for mode in get_args(Mode) if mode != "canary"), f"{CANARY}{PERCENT}"),
    ),
    "CLOCK": ScalarShape("A local time, in quotes.", '"21:00"', _text(CLOCK)),
    "DAY": ScalarShape("A local date, in quotes.", '"2026-12-24"', _text(DATE)),
    "WEEKDAY": ScalarShape(
        "A weekday.",
        "monday, or mon",
        {"enum": [name for day in WEEKDAYS for name in (day, day[:3])]},
    ),
    "ZONE": ScalarShape("`user`, or an IANA time zone.", "Europe/Berlin", {"type": "string"}),
    "TIME": ScalarShape(
        "A local time on the first day, so many days later, or on a date.",
        '"10:00", "+3d 10:00", "2026-03-29 01:30"',
        _text(AT),
    ),
    "START": ScalarShape("A date, at midnight unless a time follows.", '"2026-01-05"', _text(START)),
    "NAME": ScalarShape(
        "A letter, then up to 127 letters, digits, or _ : / - and the dot.",
        "cart-abandoned",
        _text(NAME),
    ),
    "IDENTIFIER": ScalarShape(
        "A name in expressions: letters, digits and underscores.",
        "engagement",
        _text(IDENTIFIER),
    ),
    "MAILBOX": ScalarShape(
        "A mailbox: an address, or a display name and an address.",
        '"Shop <mail@shop.example>"',
        {"type": "string", "pattern": "@", "maxLength": MAX_TEXT},
    ),
    "DOMAIN": ScalarShape("A domain, in ASCII.", "shop.example", _text(DOMAIN)),
    "SELECTOR": ScalarShape("A selector of DKIM.", "autumn2026", _text(SELECTOR)),
    "URL": ScalarShape(
        "Where requests go: https, a host, and no user, password or fragment.",
        "https://crm.example/hooks/ebbtide",
        {"type": "string", "pattern": "^https?://", "maxLength": MAX_URL},
    ),
    "RATE": ScalarShape("So many in a second, a minute or an hour, evenly spaced.", "50/s, 600/min", _text(RATE)),
    "REASON": ScalarShape("Why a send was dropped.", "cap", {"enum": [reason.value for reason in Reason]}),
    "NUMBER": ScalarShape("A plain number.", "0.2", {"type": "number"}),
    "BOOLEAN": ScalarShape("True or false.", "true", {"type": "boolean"}),
    "TEXT": ScalarShape(
        f"A text of up to {MAX_TEXT:,} characters.", "growth@shop.example", {"type": "string", "maxLength": MAX_TEXT}
    ),
}
"""Each by the name under which keys take it."""
