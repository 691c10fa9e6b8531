"""The shapes of the language that are written as one value, each with its form and its JSON Schema."""

from collections.abc import Mapping

from schemas.vocabulary import Reason
from triggers.language.declarations import ScalarShape

_DURATION = r"^(?=\d)(\d{1,9}w)?(\d{1,9}d)?(\d{1,9}h)?(\d{1,9}m)?(\d{1,9}s)?$"
_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

SCALARS: Mapping[str, ScalarShape] = {
    "USER": ScalarShape(
        "Attributes of the profile. `zone`, `locale`, `consent` (purposes; default the rule's), `score`, `metric`, "
        "`variant` and `held_out` are known; everything else is an attribute.",
        "{zone: Europe/Berlin, score: {engagement: 1}}",
        {
            "type": "object",
            "properties": {
                "zone": {"type": "string"},
                "locale": {"type": "string"},
                "consent": {"type": "array", "items": {"type": "string"}},
                "score": {"type": "object", "additionalProperties": {"type": "number"}},
                "metric": {"type": "object"},
                "variant": {"type": "string"},
                "held_out": {"type": "boolean"},
            },
        },
    ),
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
        "Exact elapsed time; a day is 24 h. At most 400 days.",
        "90s, 15m, 1h30m, 3d, 2w",
        {"type": "string", "pattern": _DURATION},
    ),
    "WINDOW": ScalarShape(
        "The last so long, open at its old end; or the user's local day, ISO week or month.",
        "3d, calendar day, calendar week, calendar month",
        {"type": "string", "pattern": f"{_DURATION}|^calendar (day|week|month)$"},
    ),
    "PERCENT": ScalarShape("A share.", "10%", {"type": "string", "pattern": r"^\d{1,3}(\.\d{1,3})?%$"}),
    "MODE": ScalarShape(
        "Stopped; recorded only; for a share of users, and recorded for the others; or for everybody.",
        "off, shadow, canary 5%, live",
        {"type": "string", "pattern": r"^(off|shadow|live|canary \d{1,3}(\.\d{1,3})?%)$"},
    ),
    "CLOCK": ScalarShape("A local time, in quotes.", '"21:00"', {"type": "string", "pattern": f"^{_CLOCK}$"}),
    "DAY": ScalarShape("A local date, in quotes.", '"2026-12-24"', {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}),
    "WEEKDAY": ScalarShape(
        "A weekday.",
        "monday, or mon",
        {"enum": [name for day in _WEEKDAYS for name in (day, day[:3])]},
    ),
    "ZONE": ScalarShape("`user`, or a zone of the IANA's.", "Europe/Berlin", {"type": "string"}),
    "TIME": ScalarShape(
        "A local time on the first day, so many days later, or on a date.",
        '"10:00", "+3d 10:00", "2026-03-29 01:30"',
        {"type": "string", "pattern": rf"^(\+\d{{1,4}}d |\d{{4}}-\d\d-\d\d )?{_CLOCK}(:[0-5]\d(\.\d{{3}})?)?$"},
    ),
    "START": ScalarShape(
        "A date, at midnight unless a time follows.",
        '"2026-01-05"',
        {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d"},
    ),
    "NAME": ScalarShape(
        "A letter, then up to 127 letters, digits, or _ : / - and the dot.",
        "cart-abandoned",
        {"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9_.:/-]{0,127}$"},
    ),
    "IDENTIFIER": ScalarShape(
        "A name that expressions use: letters, digits and underscores.",
        "engagement",
        {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"},
    ),
    "REASON": ScalarShape(
        "Why a send was dropped.",
        "cap",
        {"enum": [reason.value for reason in Reason]},
    ),
    "NUMBER": ScalarShape("A plain number.", "0.2", {"type": "number"}),
    "BOOLEAN": ScalarShape("True or false.", "true", {"type": "boolean"}),
    "TEXT": ScalarShape(
        "A text of up to 4,000 characters.", "growth@shop.example", {"type": "string", "maxLength": 4000}
    ),
}
"""Each by the name under which keys take it."""
