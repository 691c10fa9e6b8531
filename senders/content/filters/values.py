"""What filters take: values and arguments as text, as whole numbers and as lists."""

from collections.abc import Mapping
from typing import Any

from liquid.exceptions import FilterArgumentError
from liquid.filter import flatten, num_arg
from liquid.undefined import is_undefined

from schemas.numbers import plain_text, whole_numbers
from senders.content.blanks import is_blank


def as_shown(value: object) -> object:
    """A boolean or a number as templates show it: `true`, 49 for 49.0, all digits of 2e21. Other values stay.

    Raises FilterArgumentError for an infinity or NaN. An object is copied, with its whole numbers written whole.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        try:
            return plain_text(value)
        except ValueError as error:
            raise FilterArgumentError(str(error), token=None) from None
    return whole_numbers(value) if isinstance(value, dict) else value


def text_of(value: object) -> str:
    """A value as text, as a template shows it."""
    if isinstance(value, list):
        return "".join("" if is_blank(item) else text_of(item) for item in flatten(value))
    value = as_shown(value)
    return value if isinstance(value, str) else str(value)


def argument_text(argument: object) -> str:
    """An argument as text. A literal in the HTML part of a template is HTML (`Markup`) and stays HTML."""
    return argument if isinstance(argument, str) else str(as_shown(argument))


def whole_number(value: object, what: str) -> int:
    """An argument that is a number of something; raises FilterArgumentError if it is no whole number."""
    number = num_arg(value)
    if isinstance(value, bool) or number != int(number):
        raise FilterArgumentError(f"{what} takes a whole number", token=None)
    return int(number)


def list_of(value: Any) -> list[Any]:
    """A list without nested lists. Any other value is a list of one."""
    if isinstance(value, list | tuple):
        return flatten(value)
    return list(value) if isinstance(value, range) else [value]


def property_of(item: Any, name: object) -> Any:
    """An item's property, or None; raises FilterArgumentError if the item is no object."""
    if isinstance(item, Mapping):
        return item.get(name)
    if is_undefined(item):
        str(item)  # raises UndefinedError with the item's place
    raise FilterArgumentError("an item that is no object has no properties", token=None)


def is_same(one: object, other: object) -> bool:
    """Whether two values are equal. In Liquid, 1 is not true."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
