"""What compiled conditions call: CEL's operations on values that came as JSON.

Numbers of events and profiles are doubles. Timestamps are UTC datetimes, durations timedeltas. A boolean is no number,
although Python thinks so. Every failure is one of FAILURES; `EvaluationError` carries words for a person.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class EvaluationError(ValueError):
    """An expression that has no value for this input."""


FAILURES = (EvaluationError, KeyError, TypeError, ValueError, IndexError, ArithmeticError, RecursionError)
"""Everything that evaluating an expression may raise."""


def reason(error: BaseException) -> str:
    """The failure in words, without the values that caused it."""
    if isinstance(error, KeyError):
        return f"no such field: {error.args[0]}"
    if isinstance(error, EvaluationError):
        return str(error)
    return f"no such operation: {type(error).__name__}"


def as_time(ms: int) -> datetime:
    """Milliseconds since the epoch as a timestamp."""
    return EPOCH + timedelta(milliseconds=ms)


def reading(value: Any, name: str) -> Any:
    """A metric's field that is there."""
    if value is None:
        raise EvaluationError(f"no such field: {name} (of a metric that has counted nothing)")
    return value


def as_ms(moment: datetime) -> int:
    """A timestamp as whole milliseconds since the epoch, rounded down."""
    delta = moment - EPOCH
    return delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    kinds = ((int | float, "number"), (str, "string"), (list, "list"), (dict, "map"), (datetime, "timestamp"))
    for cls, name in kinds:
        if isinstance(value, cls):
            return name
    return "duration" if isinstance(value, timedelta) else "null" if value is None else type(value).__name__


def _no_overload(operation: str, *values: Any) -> EvaluationError:
    return EvaluationError(f"no such operation: {f' {operation} '.join(_kind(v) for v in values)}")


def field(value: Any, name: str) -> Any:
    """`value.name` of a map."""
    if value.__class__ is not dict:
        raise EvaluationError(f"no such field: {name} (of a {_kind(value)})")
    return value[name]


def has_field(value: Any, name: str) -> bool:
    """`has(value.name)`: of a map that is itself there."""
    if value.__class__ is not dict:
        raise EvaluationError(f"has() asks a map, not a {_kind(value)}")
    return name in value


def item(value: Any, index: Any) -> Any:
    """`value[index]`: a list by whole number from 0, a map by text."""
    if isinstance(value, dict) and isinstance(index, str):
        return value[index]
    if isinstance(value, list) and _is_number(index) and index == int(index):
        if 0 <= index < len(value):
            return value[int(index)]
        raise EvaluationError(f"no item {int(index)} in a list of {len(value)}")
    raise _no_overload("[]", value, index)


def _is_number(value: Any) -> bool:
    return value.__class__ is float or value.__class__ is int


def truth(value: Any) -> bool:
    """The value, which must be a boolean."""
    if value is True or value is False:
        return bool(value)
    raise EvaluationError(f"a {_kind(value)} where true or false is needed")


def both(values: tuple[Any, ...]) -> bool:
    """`&&` where some operand is not plainly true: false wins over errors, in any order (CEL, logical operators)."""
    return _absorb(values, winner=False)


def either(values: tuple[Any, ...]) -> bool:
    """`||` where no operand is plainly true: true wins over errors, in any order."""
    return _absorb(values, winner=True)


def _absorb(values: tuple[Any, ...], *, winner: bool) -> bool:
    if any(value is winner for value in values):
        return winner
    for value in values:
        if isinstance(value, Exception):
            raise value
        truth(value)
    return not winner


def equal(a: Any, b: Any) -> bool:
    """`==`: numbers by value whatever their kind, everything else only with its own kind."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(x, b[k]) for k, x in a.items())
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def _ordered(a: Any, b: Any, operation: str) -> None:
    if _is_number(a) and _is_number(b):
        return
    kind = _kind(a)
    if kind != _kind(b) or kind not in ("string", "timestamp", "duration", "bool"):
        raise _no_overload(operation, a, b)


def lt(a: Any, b: Any) -> bool:
    """`a < b`."""
    _ordered(a, b, "<")
    return bool(a < b)


def le(a: Any, b: Any) -> bool:
    """`a <= b`."""
    _ordered(a, b, "<=")
    return bool(a <= b)


def gt(a: Any, b: Any) -> bool:
    """`a > b`."""
    _ordered(a, b, ">")
    return bool(a > b)


def ge(a: Any, b: Any) -> bool:
    """`a >= b`."""
    _ordered(a, b, ">=")
    return bool(a >= b)


def add(a: Any, b: Any) -> Any:
    """`a + b`: numbers, texts, lists, timestamps with durations."""
    if _is_number(a) and _is_number(b):
        return float(a) + float(b)
    kinds = (_kind(a), _kind(b))
    if kinds in _ADDABLE:
        return a + b
    raise _no_overload("+", a, b)


_ADDABLE = {
    ("string", "string"),
    ("list", "list"),
    ("timestamp", "duration"),
    ("duration", "timestamp"),
    ("duration", "duration"),
}
_SUBTRACTABLE = {("timestamp", "timestamp"), ("timestamp", "duration"), ("duration", "duration")}


def sub(a: Any, b: Any) -> Any:
    """`a - b`: numbers, timestamps, durations."""
    if _is_number(a) and _is_number(b):
        return float(a) - float(b)
    if (_kind(a), _kind(b)) in _SUBTRACTABLE:
        return a - b
    raise _no_overload("-", a, b)


def mul(a: Any, b: Any) -> float:
    """`a * b` of numbers."""
    if _is_number(a) and _is_number(b):
        return float(a) * float(b)
    raise _no_overload("*", a, b)


def div(a: Any, b: Any) -> float:
    """`a / b` of doubles, as IEEE 754 has it: by zero gives an infinity or not-a-number, no error."""
    if not (_is_number(a) and _is_number(b)):
        raise _no_overload("/", a, b)
    upper, lower = float(a), float(b)
    if lower:
        return upper / lower
    return math.nan if upper == 0 or upper != upper else math.copysign(math.inf, upper) * math.copysign(1, lower)


def int_result(value: int) -> int:
    """The outcome of arithmetic on whole numbers, which must fit 64 bits."""
    if _INT_MIN <= value <= _INT_MAX:
        return value
    raise EvaluationError("a whole number of more than 64 bits")


def int_div(a: int, b: int) -> int:
    """`a / b` of whole numbers, towards zero."""
    if b == 0:
        raise EvaluationError("division by zero")
    return int_result(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))


def int_mod(a: int, b: int) -> int:
    """`a % b` of whole numbers, with the sign of `a`."""
    if b == 0:
        raise EvaluationError("division by zero")
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def negative(value: Any) -> Any:
    """`-value` of a number or a duration."""
    if _is_number(value):
        return -float(value)
    if isinstance(value, timedelta):
        return -value
    raise EvaluationError(f"no such operation: -{_kind(value)}")


def contained(value: Any, container: Any) -> bool:
    """`value in container`: of a list by equality, of a map by key."""
    if isinstance(container, list):
        return any(equal(value, each) for each in container)
    if isinstance(container, dict) and isinstance(value, str):
        return value in container
    raise _no_overload("in", value, container)


def size(value: Any) -> int:
    """`size(value)` of a text, a list or a map."""
    if isinstance(value, str | list | dict):
        return len(value)
    raise EvaluationError(f"no such operation: size of a {_kind(value)}")


def _texts(name: str, a: Any, b: Any) -> None:
    if not (isinstance(a, str) and isinstance(b, str)):
        raise _no_overload(name, a, b)


def text_contains(a: Any, b: Any) -> bool:
    """`a.contains(b)`."""
    _texts("contains", a, b)
    return b in a


def text_starts(a: Any, b: Any) -> bool:
    """`a.startsWith(b)`."""
    _texts("startsWith", a, b)
    return bool(a.startswith(b))


def text_ends(a: Any, b: Any) -> bool:
    """`a.endsWith(b)`."""
    _texts("endsWith", a, b)
    return bool(a.endswith(b))


def days(count: Any) -> timedelta:
    """`days(n)`: n times 24 hours."""
    return timedelta(days=to_double(count))


def hours(count: Any) -> timedelta:
    """`hours(n)`."""
    return timedelta(hours=to_double(count))


def to_double(value: Any) -> float:
    """`double(value)` of a number or a text."""
    if _is_number(value) or isinstance(value, str):
        return float(value)
    raise EvaluationError(f"no such operation: double of a {_kind(value)}")


def to_int(value: Any) -> int:
    """`int(value)`: a number towards zero, or a decimal text."""
    if _is_number(value) or isinstance(value, str):
        return int_result(int(value))
    raise EvaluationError(f"no such operation: int of a {_kind(value)}")


def to_string(value: Any) -> str:
    """`string(value)`: doubles that are whole numbers without a point."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if _is_number(value):
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise EvaluationError(f"no such operation: string of a {_kind(value)}")


def to_timestamp(value: Any) -> datetime:
    """`timestamp(text)`: RFC 3339, with its offset."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and len(value) <= 40:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise EvaluationError("timestamp() needs an RFC 3339 text") from None
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    raise EvaluationError("timestamp() needs an RFC 3339 text with an offset")
