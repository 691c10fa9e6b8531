"""Timestamps and durations of expressions: reading, writing and their parts.

RFC 3339 for timestamps, Go's notation for durations (`1h30m`, `-1.5s`, `100ms`), both to the nanosecond, as the CEL
language definition requires.
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from schemas.zones import zone_named
from triggers.cel.values import (
    NS,
    NUMBERS,
    Duration,
    EvaluationError,
    Timestamp,
    duration_result,
    kind,
    timestamp_result,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_PLAIN_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DURATION = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:h|m|s|ms|us|µs|μs|ns)(?:(?:\d+\.?\d*|\.\d+)(?:h|m|s|ms|us|µs|μs|ns))*"
)
_PART = re.compile(r"(\d*)\.?(\d*)(ms|us|µs|μs|ns|h|m|s)")
_UNITS = {"h": 3600 * NS, "m": 60 * NS, "s": NS, "ms": 1_000_000, "us": 1000, "µs": 1000, "μs": 1000, "ns": 1}
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII)
_LONGEST = 100
_FAR = 2**63


def parse_timestamp(text: str) -> Timestamp:
    """An RFC 3339 text with its offset; raises EvaluationError."""
    match = _RFC3339.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None and _PLAIN_DATE.fullmatch(text):
        raise EvaluationError("timestamp() of a plain date, which has no instant: `date` and `until` take it as it is")
    if match is None:
        raise EvaluationError("timestamp() needs an RFC 3339 text with an offset, as in 2026-05-01T10:00:00Z")
    *fields, fraction, sign, hours, minutes = match.groups()
    try:
        year, month, day, hour, minute, second = map(int, fields)
        wall = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise EvaluationError("timestamp() needs a date and time that exist") from None
    seconds = (wall - _EPOCH) // timedelta(seconds=1)
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            raise EvaluationError("timestamp() needs an offset of hours and minutes")
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds -= offset if sign == "+" else -offset
    return timestamp_result(seconds * NS + int((fraction or "").ljust(9, "0")))


def timestamp_text(value: Timestamp) -> str:
    """The timestamp in the form of RFC 3339, in UTC, with no more digits than it needs."""
    seconds, ns = divmod(timestamp_result(value), NS)
    wall = _EPOCH + timedelta(seconds=seconds)
    return f"{wall.isoformat()[:-6]}{_fraction(ns)}Z"


def parse_duration(text: str) -> Duration:
    """A duration in Go's notation; raises EvaluationError."""
    if len(text) > _LONGEST or not (_DURATION.fullmatch(text) or text in ("0", "+0", "-0")):
        raise EvaluationError("duration() needs numbers with units, as in 1h30m or 1.5s")
    ns = 0
    for match in _PART.finditer(text):
        whole, fraction, unit = match.groups()
        ns += int(whole or 0) * _UNITS[unit] + int(fraction or 0) * _UNITS[unit] // 10 ** len(fraction)
    return duration_result(-ns if text.startswith("-") else ns)


def duration_text(value: Duration) -> str:
    """The duration in seconds: `1.5s`."""
    seconds, ns = divmod(abs(int(value)), NS)
    return f"{'-' if value < 0 else ''}{seconds}{_fraction(ns)}s"


def _fraction(ns: int) -> str:
    return f".{ns:09d}".rstrip("0") if ns else ""


def days(count: Any) -> Duration:
    """`days(n)`: n times 24 hours."""
    return _times(count, 86_400 * NS)


def hours(count: Any) -> Duration:
    """`hours(n)`."""
    return _times(count, 3600 * NS)


def _times(count: Any, unit: int) -> Duration:
    if count.__class__ not in NUMBERS:
        raise EvaluationError(f"a {kind(count)} where a number is needed")
    ns = count * unit
    if not -_FAR < ns < _FAR:  # also excludes NaN, which cannot be rounded
        raise EvaluationError("a duration of more than 292 years")
    return duration_result(round(ns))


# parts ---------------------------------------------------------------------------------------------------------------


def _local(value: Any, zone: Any) -> datetime:
    """The timestamp, to the second, in a zone: by IANA name, or an offset like +05:30."""
    if value.__class__ is not Timestamp or (zone is not None and zone.__class__ is not str):
        raise EvaluationError(f"no such operation: a date's part of a {kind(value)}")
    return (_EPOCH + timedelta(seconds=int(value) // NS)).astimezone(UTC if zone is None else _zone(zone))


def _zone(name: str) -> tzinfo:
    match = _OFFSET.fullmatch(name)
    if match:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    zone = zone_named(name)
    if zone is None:
        raise EvaluationError("no such time zone")
    return zone


def is_zone(name: str) -> bool:
    """Whether the zone is valid for a date's parts: an IANA name, or an offset such as +05:30."""
    try:
        return _zone(name) is not None
    except (EvaluationError, ValueError):
        return False


def year(value: Any, zone: Any = None) -> int:
    """`getFullYear()`."""
    return _local(value, zone).year


def month(value: Any, zone: Any = None) -> int:
    """`getMonth()`, from 0."""
    return _local(value, zone).month - 1


def date(value: Any, zone: Any = None) -> int:
    """`getDate()`: the day of the month, from 1."""
    return _local(value, zone).day


def day_of_month(value: Any, zone: Any = None) -> int:
    """`getDayOfMonth()`, from 0."""
    return _local(value, zone).day - 1


def day_of_week(value: Any, zone: Any = None) -> int:
    """`getDayOfWeek()`, 0 on Sunday."""
    return _local(value, zone).isoweekday() % 7


def day_of_year(value: Any, zone: Any = None) -> int:
    """`getDayOfYear()`, from 0."""
    return _local(value, zone).timetuple().tm_yday - 1


def hour(value: Any, zone: Any = None) -> int:
    """`getHours()`: of a timestamp 0 to 23, of a duration all of it in hours."""
    return _local(value, zone).hour if zone is not None else _part(value, 3600 * NS, 24)


def minute(value: Any, zone: Any = None) -> int:
    """`getMinutes()`: of a timestamp 0 to 59, of a duration all of it in minutes."""
    return _local(value, zone).minute if zone is not None else _part(value, 60 * NS, 60)


def second(value: Any, zone: Any = None) -> int:
    """`getSeconds()`: of a timestamp 0 to 59, of a duration all of it in seconds."""
    return _local(value, zone).second if zone is not None else _part(value, NS, 60)


def millisecond(value: Any, zone: Any = None) -> int:
    """`getMilliseconds()`, 0 to 999; of a duration the remainder below whole seconds."""
    if zone is not None:
        _local(value, zone)
    elif value.__class__ is Duration:
        return _towards_zero(int(value), 1_000_000) - _towards_zero(int(value), NS) * 1000
    return _part(value, 1_000_000, 1000)


def _part(value: Any, unit: int, wraps: int) -> int:
    """The units of a timestamp of UTC since the last whole `wraps`, or all the units of a duration, towards zero."""
    if value.__class__ is Timestamp:
        return int(value) // unit % wraps
    if value.__class__ is Duration:
        return _towards_zero(int(value), unit)
    raise EvaluationError(f"no such operation: a time's part of a {kind(value)}")


def _towards_zero(ns: int, unit: int) -> int:
    return -(-ns // unit) if ns < 0 else ns // unit
