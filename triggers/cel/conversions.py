"""Conversions of expressions: `int(x)`, `string(x)`, … (CEL, list of standard definitions)."""

import math
import re
from typing import Any

from schemas.numbers import whole
from triggers.cel.time import duration_text, parse_duration, parse_timestamp, timestamp_text
from triggers.cel.values import (
    NS,
    NUMBERS,
    TYPES,
    Duration,
    EvaluationError,
    Timestamp,
    Type,
    Uint,
    int_result,
    kind,
    timestamp_result,
    type_of,
    uint_result,
)

_WHOLE = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)|nan", re.ASCII | re.IGNORECASE)
_TRUE = ("true", "True", "TRUE", "t", "T", "1")
_FALSE = ("false", "False", "FALSE", "f", "F", "0")
_NOT_FINITE = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}
_LONGEST_NUMBER = 400
_FAR = 2.0**63


def _no(what: str, value: Any) -> EvaluationError:
    return EvaluationError(f"no such operation: {what} of a {kind(value)}")


def to_int(value: Any) -> int:
    """`int(value)`: a number rounded towards zero, a decimal text, or a timestamp in seconds."""
    cls = value.__class__
    if cls is int:
        return int(value)
    if cls is Uint:
        return int_result(int(value))
    if cls is float:
        if -_FAR < value < _FAR:
            return int(value)
        raise EvaluationError("a number too large for int")
    if cls is str and _WHOLE.fullmatch(value):
        return int_result(int(value))
    if cls is Timestamp:
        return int(value) // NS
    raise EvaluationError("int() needs digits") if cls is str else _no("int", value)


def to_uint(value: Any) -> Uint:
    """`uint(value)`: a non-negative number rounded towards zero, or a decimal text."""
    cls = value.__class__
    if cls is int or cls is Uint:
        return uint_result(value)
    if cls is float:
        if -1 < value < 2 * _FAR:
            return uint_result(int(value)) if value >= 0 else _negative()
        raise EvaluationError("a number too large for uint, or below 0")
    if cls is str and _WHOLE.fullmatch(value) and value[0] not in "+-":
        return uint_result(int(value))
    raise EvaluationError("uint() needs digits") if cls is str else _no("uint", value)


def _negative() -> Uint:
    raise EvaluationError("a uint cannot be below 0")


def to_double(value: Any) -> float:
    """`double(value)` of a number or a text."""
    if value.__class__ in NUMBERS:
        return float(value)
    if value.__class__ is str:
        if len(value) <= _LONGEST_NUMBER and _DECIMAL.fullmatch(value):
            return float(value)
        raise EvaluationError("double() needs a number")
    raise _no("double", value)


def to_string(value: Any) -> str:
    """`string(value)`: whole doubles without a point, timestamps in the form of RFC 3339."""
    cls = value.__class__
    if cls is str:
        return str(value)
    if cls is bool:
        return "true" if value else "false"
    if cls is int or cls is Uint:
        return str(int(value))
    if cls is float:
        return str(whole(value)) if math.isfinite(value) else _NOT_FINITE[repr(value)]
    if cls is bytes:
        return _utf8(value)
    if cls is Timestamp:
        return timestamp_text(value)
    if cls is Duration:
        return duration_text(value)
    raise _no("string", value)


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("string() needs bytes of UTF-8") from None


def to_bytes(value: Any) -> bytes:
    """`bytes(value)`: the UTF-8 of a text."""
    if value.__class__ is bytes:
        return bytes(value)
    if value.__class__ is str:
        return str(value).encode()
    raise _no("bytes", value)


def to_bool(value: Any) -> bool:
    """`bool(value)` of a text like "true"."""
    if value is True or value is False:
        return bool(value)
    if value.__class__ is not str:
        raise _no("bool", value)
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise EvaluationError("bool() needs true or false")


def to_timestamp(value: Any) -> Timestamp:
    """`timestamp(value)`: an RFC 3339 text with its offset, or whole seconds since the epoch."""
    cls = value.__class__
    if cls is Timestamp:
        return timestamp_result(value)
    if cls is str:
        return parse_timestamp(value)
    if cls is int:
        return timestamp_result(value * NS)
    raise _no("timestamp", value)


def timestamp_of_data(value: Any) -> Timestamp:
    """`timestamp(value)` in rules takes only texts: numbers of the data are doubles, which CEL does not convert."""
    if value.__class__ in NUMBERS:
        raise _no("timestamp", float(value))
    return to_timestamp(value)


def to_duration(value: Any) -> Duration:
    """`duration(value)`: a text like 1h30m."""
    if value.__class__ is Duration:
        return Duration(value)
    if value.__class__ is str:
        return parse_duration(value)
    raise _no("duration", value)


def type_of_data(value: Any) -> Type:
    """`type(value)` in rules: every number of the data is a double."""
    return TYPES["double"] if value.__class__ in NUMBERS else type_of(value)
