"""CEL's values in Python, and the equality and order of any two (CEL, equality and ordering).

`int`, `double`, `string`, `bool`, `bytes`, `list`, `map` and `null` are Python's own. The rest are subclasses of
int: Uint, and in nanoseconds Timestamp and Duration. The class decides the type: a boolean is not
a number here, and a timestamp equals no number.
"""

from dataclasses import dataclass
from typing import Any

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
UINT_MAX = 2**64 - 1
NS = 1_000_000_000
MAX_COMPARED = 20_000
"""The most values that one comparison of lists or maps reads: a few milliseconds. Events can contain more."""


class EvaluationError(ValueError):
    """An expression that has no value for this input."""


class MissingField(EvaluationError):
    """An expression that reads a field which the input does not have."""


class Uint(int):
    """An unsigned whole number of 64 bits."""

    __slots__ = ()


class Timestamp(int):
    """Nanoseconds since the epoch, from year 1 to the end of year 9999."""

    __slots__ = ()


class Duration(int):
    """Nanoseconds, of 64 bits with the sign: about 292 years either way."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Type:
    """What `type(x)` gives."""

    name: str


@dataclass(frozen=True, slots=True)
class BoolKey:
    """A boolean as the key of a map; Python would treat a plain one as 0 or 1."""

    value: bool


NUMBERS: frozenset[Any] = frozenset({int, float, Uint})
_ORDERED = frozenset({int, float, Uint, str, bytes, bool, Timestamp, Duration})
_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    type(None): "null_type",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    Type: "type",
}
TYPES = {name: Type(name) for name in _NAMES.values()}


def type_of(value: Any) -> Type:
    """`type(value)`; raises EvaluationError for a value that CEL does not have."""
    name = _NAMES.get(value.__class__)
    if name is None:
        raise EvaluationError("this is not a CEL value")
    return TYPES[name]


def kind(value: Any) -> str:
    """The name of a value's type, for messages."""
    name: str = _NAMES.get(value.__class__, value.__class__.__name__)
    return name.removeprefix("google.protobuf.").lower()


def no_overload(operation: str, *values: Any) -> EvaluationError:
    """The error of an operation that these values do not have."""
    return EvaluationError(f"no such operation: {f' {operation} '.join(kind(value) for value in values)}")


def int_result(value: int) -> int:
    """The result of arithmetic on whole numbers, which must fit 64 bits."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("a whole number of more than 64 bits")


def uint_result(value: int) -> Uint:
    """The result of arithmetic on unsigned whole numbers, which must fit 64 bits and not be negative."""
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise EvaluationError("an unsigned whole number below 0 or of more than 64 bits")


def duration_result(ns: int) -> Duration:
    """A duration; raises EvaluationError if it does not fit 64 bits."""
    if INT_MIN <= ns <= INT_MAX:
        return Duration(ns)
    raise EvaluationError("a duration of more than 292 years")


_FIRST_NS, _LAST_NS = -62_135_596_800 * NS, 253_402_300_800 * NS


def timestamp_result(ns: int) -> Timestamp:
    """A timestamp; raises EvaluationError outside the years 1 to 9999."""
    if _FIRST_NS <= ns < _LAST_NS:
        return Timestamp(ns)
    raise EvaluationError("a timestamp outside the years 1 to 9999")


def moment(ms: float) -> Timestamp:
    """Milliseconds since the epoch as a timestamp."""
    return Timestamp(int(ms) * 1_000_000)


def map_key(value: Any) -> Any:
    """A value as the key of a map; equal whole numbers are one key. Raises EvaluationError for other values."""
    cls = value.__class__
    if cls is str or cls is int or cls is Uint:
        return value
    if cls is bool:
        return BoolKey(value)
    raise EvaluationError(f"a {kind(value)} cannot be the key of a map")


def looked_up(value: Any) -> Any:
    """What to look for in a map: its key, or a double, which finds the whole number that it equals."""
    return value if value.__class__ is float else map_key(value)


def from_key(key: Any) -> Any:
    """The value of a key of a map."""
    return key.value if key.__class__ is BoolKey else key


def same_number(a: Any, b: Any) -> bool:
    """`==` of numbers of different types; beside a double, as doubles."""
    if a.__class__ is float or b.__class__ is float:
        return float(a) == float(b)
    return bool(a == b)


def equal(a: Any, b: Any) -> bool:
    """`==`: numbers are equal by value across types; other values are equal only to values of the same type."""
    cls = a.__class__
    if cls is b.__class__:
        if cls is list or cls is dict:
            return equal_within(a, b, [MAX_COMPARED])
        return bool(a == b)
    return cls in NUMBERS and b.__class__ in NUMBERS and same_number(a, b)


def equal_within(a: Any, b: Any, left: list[int]) -> bool:
    """`==` that subtracts each value read from the budget left; raises EvaluationError if nothing is left."""
    left[0] -= 1
    if left[0] < 0:
        raise EvaluationError(f"more than {MAX_COMPARED} values to compare")
    if a.__class__ is list and b.__class__ is list:
        return len(a) == len(b) and all(equal_within(x, y, left) for x, y in zip(a, b, strict=True))
    if a.__class__ is dict and b.__class__ is dict:
        return a.keys() == b.keys() and all(equal_within(x, b[key], left) for key, x in a.items())
    return equal(a, b)


def ordered(a: Any, b: Any, operation: str) -> tuple[Any, Any]:
    """The two as Python can order them; raises EvaluationError if they have no order.

    Only numbers among themselves, beside a double as doubles, and otherwise like with like.
    """
    cls = a.__class__
    if cls is b.__class__ and cls in _ORDERED:
        return a, b
    if cls in NUMBERS and b.__class__ in NUMBERS:
        return (float(a), float(b)) if float in (cls, b.__class__) else (a, b)
    raise no_overload(operation, a, b)
