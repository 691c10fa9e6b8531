"""Arithmetic of operands whose types are known only at run time.

There are two families for numbers. `add`, `sub`, … follow CEL: whole numbers stay whole and types do not mix.
`add_data`, `sub_data`, … are for rules: all numbers of events and profiles are doubles, in any JSON notation, and so is
what they give together with whole numbers.
"""

import math
from typing import Any

from triggers.cel.runtime import MAX_ITEMS, MAX_TEXT
from triggers.cel.values import (
    NUMBERS,
    Duration,
    EvaluationError,
    Timestamp,
    Uint,
    duration_result,
    int_result,
    kind,
    no_overload,
    timestamp_result,
    uint_result,
)


def int_div(a: int, b: int) -> int:
    """`a / b` of whole numbers, rounded towards zero."""
    if b == 0:
        raise EvaluationError("division by zero")
    return int_result(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))


def int_mod(a: int, b: int) -> int:
    """`a % b` of whole numbers, with the sign of `a`."""
    if b == 0:
        raise EvaluationError("division by zero")
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def double_div(a: float, b: float) -> float:
    """`a / b` by IEEE 754: division by zero gives an infinity or NaN and does not raise."""
    if b:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1, b)


def double_mod(a: float, b: float) -> float:
    """`a % b` in rules, with the sign of `a`: numbers of the data are doubles, and CEL's `%` takes none."""
    if b == 0:
        raise EvaluationError("division by zero")
    if math.isinf(a):
        raise EvaluationError("no such operation: % of an infinite number")
    return math.fmod(a, b)


def add(a: Any, b: Any) -> Any:
    """`a + b`."""
    cls = a.__class__
    if cls is b.__class__:
        if cls is int:
            return int_result(a + b)
        if cls is float:
            return a + b
        if cls is Uint:
            return uint_result(a + b)
    return join(a, b)


def sub(a: Any, b: Any) -> Any:
    """`a - b`."""
    cls = a.__class__
    if cls is b.__class__:
        if cls is int:
            return int_result(a - b)
        if cls is float:
            return a - b
        if cls is Uint:
            return uint_result(a - b)
    return apart(a, b)


def mul(a: Any, b: Any) -> Any:
    """`a * b`."""
    cls = a.__class__
    if cls is b.__class__:
        if cls is int:
            return int_result(a * b)
        if cls is float:
            return a * b
        if cls is Uint:
            return uint_result(a * b)
    raise no_overload("*", a, b)


def div(a: Any, b: Any) -> Any:
    """`a / b`."""
    cls = a.__class__
    if cls is b.__class__:
        if cls is int:
            return int_div(a, b)
        if cls is float:
            return double_div(a, b)
        if cls is Uint:
            return Uint(int_div(a, b))
    raise no_overload("/", a, b)


def mod(a: Any, b: Any) -> Any:
    """`a % b` of whole numbers."""
    cls = a.__class__
    if cls is b.__class__:
        if cls is int:
            return int_mod(a, b)
        if cls is Uint:
            return Uint(int_mod(a, b))
    raise no_overload("%", a, b)


def negative(value: Any) -> Any:
    """`-value`."""
    cls = value.__class__
    if cls is int:
        return int_result(-value)
    if cls is float:
        return -value
    if cls is Duration:
        return duration_result(-value)
    raise EvaluationError(f"no such operation: -{kind(value)}")


def add_data(a: Any, b: Any) -> Any:
    """`a + b`, numbers as doubles."""
    if a.__class__ in NUMBERS and b.__class__ in NUMBERS:
        return float(a) + float(b)
    return join(a, b)


def sub_data(a: Any, b: Any) -> Any:
    """`a - b`, numbers as doubles."""
    if a.__class__ in NUMBERS and b.__class__ in NUMBERS:
        return float(a) - float(b)
    return apart(a, b)


def mul_data(a: Any, b: Any) -> float:
    """`a * b`, numbers as doubles."""
    if a.__class__ in NUMBERS and b.__class__ in NUMBERS:
        return float(a) * float(b)
    raise no_overload("*", a, b)


def div_data(a: Any, b: Any) -> float:
    """`a / b`, numbers as doubles."""
    if a.__class__ in NUMBERS and b.__class__ in NUMBERS:
        return double_div(float(a), float(b))
    raise no_overload("/", a, b)


def mod_data(a: Any, b: Any) -> float:
    """`a % b`, numbers as doubles."""
    if a.__class__ in NUMBERS and b.__class__ in NUMBERS:
        return double_mod(float(a), float(b))
    raise no_overload("%", a, b)


def negative_data(value: Any) -> Any:
    """`-value`, a number as a double."""
    return -float(value) if value.__class__ in NUMBERS else negative(value)


def join(a: Any, b: Any) -> Any:
    """`a + b` of texts, bytes, lists, durations and timestamps; raises EvaluationError for other types."""
    first, second = a.__class__, b.__class__
    if first is second and first in (str, bytes, list):
        limit = MAX_ITEMS if first is list else MAX_TEXT
        if len(a) + len(b) > limit:
            raise EvaluationError(f"more than {limit} {'items' if first is list else 'characters'} put together")
        return a + b
    if first is Duration and second is Duration:
        return duration_result(int(a) + b)
    if (first, second) in ((Timestamp, Duration), (Duration, Timestamp)):
        return timestamp_result(int(a) + b)
    raise no_overload("+", a, b)


def apart(a: Any, b: Any) -> Any:
    """`a - b` of timestamps and durations; raises EvaluationError."""
    first, second = a.__class__, b.__class__
    if first is second and first in (Timestamp, Duration):
        return duration_result(int(a) - b)
    if first is Timestamp and second is Duration:
        return timestamp_result(int(a) - b)
    raise no_overload("-", a, b)
