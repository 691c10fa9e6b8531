"""The functions that compiled conditions call: CEL's operations on values of any type.

Every failure is one of FAILURES; `EvaluationError` has a message for people.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from triggers.cel.values import (
    MAX_COMPARED,
    Uint,
    equal_within,
    from_key,
    kind,
    looked_up,
    map_key,
    no_overload,
    ordered,
)
from triggers.cel.values import EvaluationError as EvaluationError
from triggers.cel.values import MissingField as MissingField

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_ITEMS = 10_000
MAX_TEXT = 100_000
"""The maximum number of characters of a text, or items of a list, that an expression may build."""

FAILURES = (EvaluationError, KeyError, TypeError, ValueError, IndexError, ArithmeticError, RecursionError)
"""All exceptions that evaluating an expression may raise."""


def reason(error: BaseException) -> str:
    """The failure in words, without the values that caused it."""
    if isinstance(error, KeyError):
        return f"no such field: {error.args[0]}"
    if isinstance(error, EvaluationError):
        return str(error)
    if isinstance(error, OverflowError):
        return "a result outside of what numbers and calendars hold"
    return f"no such operation: {type(error).__name__}"


def as_time(ms: int) -> datetime:
    """Milliseconds since the epoch as a datetime."""
    return EPOCH + timedelta(milliseconds=ms)


def as_ms(moment: datetime) -> int:
    """A datetime as whole milliseconds since the epoch, rounded down."""
    delta = moment - EPOCH
    return delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000


def reading(value: Any, name: str) -> Any:
    """A metric's field that must exist."""
    if value is None:
        raise MissingField(f"no such field: {name} (of a metric that has counted nothing)")
    return value


def unknown(what: str) -> Any:
    """Raises for an unknown name, function or operator: an error that `||` may absorb."""
    raise EvaluationError(f"no such {what}")


def field(value: Any, name: str) -> Any:
    """`value.name` of a map."""
    if value.__class__ is not dict:
        raise MissingField(f"no such field: {name} (of a {kind(value)})")
    return value[name]


def has_field(value: Any, name: str) -> bool:
    """`has(value.name)` of a map that exists."""
    if value.__class__ is not dict:
        raise EvaluationError(f"has() needs a map, not a {kind(value)}")
    return name in value


def item(value: Any, index: Any) -> Any:
    """`value[index]`: of a list by whole number from 0, of a map by key."""
    if value.__class__ is dict:
        key = looked_up(index)
        if key in value:
            return value[key]
        raise EvaluationError("no such key")
    cls = index.__class__
    if value.__class__ is list and (cls is int or cls is Uint or (cls is float and index.is_integer())):
        if 0 <= index < len(value):
            return value[int(index)]
        raise EvaluationError(f"no item {int(index)} in a list of {len(value)}")
    raise no_overload("[]", value, index)


def map_of(*entries: tuple[Any, Any]) -> dict[Any, Any]:
    """`{key: value, …}`; a duplicate key is an error."""
    found = {map_key(key): value for key, value in entries}
    if len(found) < len(entries):
        raise EvaluationError("a map has the same key twice")
    return found


def truth(value: Any) -> bool:
    """The value, which must be a boolean; raises it if it is a stored error."""
    if value is True or value is False:
        return bool(value)
    if isinstance(value, Exception):
        raise value
    raise EvaluationError(f"a {kind(value)} where true or false is needed")


def both(values: tuple[Any, ...]) -> bool:
    """`&&` if some operand is not simply true: false wins over errors, in any order (CEL, logical operators)."""
    return _absorb(values, winner=False)


def either(values: tuple[Any, ...]) -> bool:
    """`||` if no operand is simply true: true wins over errors, in any order."""
    return _absorb(values, winner=True)


def _absorb(values: tuple[Any, ...], *, winner: bool) -> bool:
    if any(value is winner for value in values):
        return winner
    for value in values:
        truth(value)
    return not winner


def lt(a: Any, b: Any) -> bool:
    """`a < b`."""
    one, other = ordered(a, b, "<")
    return bool(one < other)


def le(a: Any, b: Any) -> bool:
    """`a <= b`."""
    one, other = ordered(a, b, "<=")
    return bool(one <= other)


def gt(a: Any, b: Any) -> bool:
    """`a > b`."""
    one, other = ordered(a, b, ">")
    return bool(one > other)


def ge(a: Any, b: Any) -> bool:
    """`a >= b`."""
    one, other = ordered(a, b, ">=")
    return bool(one >= other)


def contained(value: Any, container: Any) -> bool:
    """`value in container`: of a list by equality, of a map by key."""
    if container.__class__ is list:
        if value.__class__ is str:
            return value in container
        left = [MAX_COMPARED]
        return any(equal_within(value, each, left) for each in container)
    if container.__class__ is dict:
        return looked_up(value) in container
    raise no_overload("in", value, container)


def size(value: Any) -> int:
    """`size(value)` of a text, in code points, of bytes, a list or a map."""
    if value.__class__ in (str, bytes, list, dict):
        return len(value)
    raise EvaluationError(f"no such operation: size of a {kind(value)}")


# work ----------------------------------------------------------------------------------------------------------------


def elements(work: list[int], value: Any, weight: int) -> Any:
    """The items for a macro: a list, or the keys of a map; `weight` times their number is subtracted from the work."""
    if value.__class__ is dict:
        value = [from_key(key) for key in value]
    elif value.__class__ is not list:
        raise EvaluationError(f"a {kind(value)} cannot be iterated")
    _spend(work, len(value) * weight)
    return value


def paid(work: list[int], value: Any) -> Any:
    """The value, after the cost of reading all of it is subtracted from the work."""
    cls = value.__class__
    if cls is str or cls is bytes:
        _spend(work, len(value) >> 7)
    elif cls is list or cls is dict:
        waiting = [value]
        while waiting:
            inner = waiting.pop()
            _spend(work, 1 + len(inner))
            each = inner.values() if inner.__class__ is dict else inner
            waiting.extend(v for v in each if v.__class__ is list or v.__class__ is dict)
    return value


def _spend(work: list[int], steps: int) -> None:
    work[0] -= steps
    if work[0] < 0:
        raise EvaluationError("too many steps: the lists are too long for this expression")
