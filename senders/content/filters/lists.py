"""Filters of lists, and those that take texts and lists alike."""

from collections.abc import Callable
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

from liquid import Environment, Markup
from liquid.exceptions import FilterArgumentError
from liquid.filter import num_arg, with_environment

from senders.content.blanks import is_blank
from senders.content.filters.values import argument_text, is_same, list_of, property_of, text_of, whole_number


@with_environment
def join(value: Any, separator: object = " ", *, environment: Environment) -> str:
    """The items as one text. A null item is empty."""
    glue = Markup(" ") if environment.autoescape and separator == " " else argument_text(separator)
    return glue.join("" if is_blank(item) else text_of(item) for item in list_of(value))


def map_(value: Any, name: object) -> list[Any]:
    """Each item's property, null if it has none."""
    return [property_of(item, name) for item in list_of(value)]


def compact(value: Any, name: object = None) -> list[Any]:
    """The items without null, or without those whose property is null."""
    return [item for item in list_of(value) if not is_blank(item if name is None else property_of(item, name))]


def sort(value: Any, name: object = None) -> list[Any]:
    """In ascending order, null last."""
    return _sorted(value, name, lambda key: key)


def sort_natural(value: Any, name: object = None) -> list[Any]:
    """In ascending order, ignoring case, null last."""
    return _sorted(value, name, lambda key: text_of(key).lower())


def _sorted(value: Any, name: object, key_of: Callable[[Any], Any]) -> list[Any]:
    def compare(one: Any, other: Any) -> int:
        if is_blank(one) or is_blank(other):
            return int(is_blank(one)) - int(is_blank(other))
        first, second = key_of(one), key_of(other)
        try:
            return int(first > second) - int(first < second)
        except TypeError:
            raise FilterArgumentError("items of different types have no order", token=None) from None

    keyed = cmp_to_key(compare)
    return sorted(list_of(value), key=lambda item: keyed(item if name is None else property_of(item, name)))


def _selects(name: object, value: object) -> Callable[[Any], bool]:
    if value is None:
        return lambda item: not is_blank(property_of(item, name)) and property_of(item, name) is not False
    return lambda item: is_same(property_of(item, name), value)


def where(value: Any, name: object, wanted: object = None) -> list[Any]:
    """The items whose property has the value. Without a value, those whose property is neither null nor false."""
    return list(filter(_selects(name, wanted), list_of(value)))


def reject(value: Any, name: object, wanted: object = None) -> list[Any]:
    """The items that `where` leaves out."""
    selects = _selects(name, wanted)
    return [item for item in list_of(value) if not selects(item)]


def find(value: Any, name: object, wanted: object = None) -> Any:
    """The first item that `where` keeps, or null."""
    return next(filter(_selects(name, wanted), list_of(value)), None)


def find_index(value: Any, name: object, wanted: object = None) -> int | None:
    """The index of the first item that `where` keeps, or null."""
    selects = _selects(name, wanted)
    return next((index for index, item in enumerate(list_of(value)) if selects(item)), None)


def has(value: Any, name: object, wanted: object = None) -> bool:
    """Whether `where` keeps any item."""
    return any(map(_selects(name, wanted), list_of(value)))


def uniq(value: Any, name: object = None) -> list[Any]:
    """The items without those that equal an earlier one, or whose property does."""
    unique: list[tuple[object, Any]] = []
    for item in list_of(value):
        key = item if name is None else property_of(item, name)
        if not any(key is known or is_same(key, known) for known, _ in unique):
            unique.append((key, item))
    return [item for _, item in unique]


def sum_(value: Any, name: object = None) -> int | float:
    """The sum of the items or of their properties. A value that is no number counts as 0."""
    items = list_of(value) if name is None else map_(value, name)
    numbers = [_number_or_zero(item) for item in items]
    total = sum(Decimal(str(number)) for number in numbers)
    return int(total) if all(isinstance(number, int) for number in numbers) else float(total)


def _number_or_zero(value: object) -> int | float:
    return 0 if isinstance(value, bool) or is_blank(value) else num_arg(value, 0)


def slice_(value: Any, start: object, length: object = 1) -> Any:
    """A part of a text or a list. A negative start counts from the end. Empty if the start is outside."""
    sequence = list(value) if isinstance(value, range) else value if isinstance(value, list | tuple) else text_of(value)
    first, count = whole_number(start, "slice"), whole_number(length, "slice")
    first = first + len(sequence) if first < 0 else first
    return sequence[first : first + count] if first >= 0 and count > 0 else sequence[:0]


def default(value: Any, instead: Any = "", *, allow_false: bool = False) -> Any:
    """The value, or `instead` if it is missing, blank, empty, or false and false is not allowed."""
    if is_blank(value) or (value is False and not allow_false):
        return instead
    return instead if isinstance(value, list | dict) and not value else value


def size(value: Any) -> int:
    """How many items or characters. 0 for any other value."""
    return len(value) if isinstance(value, str | list | tuple | dict | range) else 0
