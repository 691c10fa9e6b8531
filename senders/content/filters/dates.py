"""The filter `date`. It reads neither the machine's clock nor its zone."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

from dateutil import parser  # type: ignore[import-untyped]  # its stubs are a package that nothing else needs
from liquid import Markup, RenderContext
from liquid.filter import with_context

from senders.content.filters.values import text_of

NOW = "now of this rendering"
"""The name under which a rendering is given its current time. No template can write it."""
_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_OFFSETS_H = {
    **dict.fromkeys(("UT", "UTC", "GMT", "Z"), 0),
    **{"EDT": -4, "EST": -5, "CDT": -5, "CST": -6, "MDT": -6, "MST": -7, "PDT": -7, "PST": -8},
}
"""The names of zones that a date of a mail may have (RFC 5322, 4.3). Other names are ambiguous, and read as UTC."""


@with_context
def date_(value: Any, form: object, *, context: RenderContext) -> str:
    """A time in a format of `strftime`. Takes a text, seconds since 1970, or `now`.

    The time is shown in the zone that the text names, or in UTC. A value that is no time is not changed.
    """
    directives, now = text_of(form), context.globals[NOW]
    assert isinstance(now, datetime), "every rendering is given its current time"
    instant = _time_of(value, now)
    if instant is None or not directives:
        return text_of(value)
    text = _strftime(instant, directives)
    return Markup(text) if context.autoescape and isinstance(form, Markup) else text


def _time_of(value: Any, now: datetime) -> datetime | None:
    """The value as a time, or None."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return now if value in ("now", "today") else _read(value, now)


def _read(value: float | str, now: datetime) -> datetime | None:
    """A number, or a text of digits, is seconds since 1970. Any other text is parsed; what it leaves out is today's."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    try:
        if not isinstance(value, str) or value.isdigit():
            return datetime.fromtimestamp(float(value), UTC)
        read = parser.parse(value, default=today, tzinfos=_zone)
    except (ValueError, OverflowError, OSError):
        return None
    return read if isinstance(read, datetime) else None


def _zone(name: str | None, offset_s: int | None) -> timezone | None:
    """The zone that a text names. Without this function, dateutil asks the machine's zone whether it has the name."""
    if offset_s is not None:
        return timezone(timedelta(seconds=offset_s))
    return timezone(timedelta(hours=_OFFSETS_H[name])) if name in _OFFSETS_H else None


def _strftime(instant: datetime, form: str) -> str:
    """`strftime` of the C library, except `%s`, which there reads the machine's zone, and Ruby's `%L` and `%N`."""
    seconds = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    micros = f"{instant.microsecond:06}"
    own = {"s": str(int(seconds.timestamp())), "L": micros[:3], "N": f"{micros}000"}
    return instant.strftime(_DIRECTIVE.sub(lambda found: own.get(found[1], found[0]), form))
