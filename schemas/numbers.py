"""Numbers as people read them: what is whole is written whole, 49 and not 49.0.

Every number of a rule is a double, and JSON keeps `49.0` apart from `49`. Templates, receivers of webhooks and readers
of decisions would show the point.
"""

import math
from decimal import Decimal
from typing import Any

EXACT = 2**53
"""Up to it a double holds every whole number; of larger ones it may hold only a neighbour, so they stay as they are."""
_LARGE = 1e12


def whole(number: float) -> int | float:
    """The number as an int if it is whole and exact, -0.0 too; otherwise unchanged."""
    return int(number) if -EXACT <= number <= EXACT and number % 1 == 0 else number


def number_text(number: float) -> str:
    """The number as a message shows it: a million is 1000000 and not 1e+06, a third 0.333333333333."""
    written = whole(number)
    return str(written) if isinstance(written, int) else f"{written:.12g}"


def bounds_text(low: float, high: float) -> str:
    """Bounds in words: `from 0 to 100`, or `0 or more` if the upper one is too large to matter."""
    return f"from {number_text(low)} to {number_text(high)}" if high < _LARGE else f"{number_text(low)} or more"


def plain_text(number: float) -> str:
    """The number with the fewest digits that tell it from other doubles, never with an exponent: 49, 0.1, and a 2 with
    21 zeros for 2e21. Raises ValueError for an infinity or NaN, which are no number that anybody can read."""
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return format(Decimal(repr(number + 0.0)), "f").removesuffix(".0")  # -0.0 + 0.0 is 0.0


def whole_numbers(value: Any) -> Any:
    """A value of JSON with every whole number in it written whole, in lists and maps too; the value itself is kept.

    It uses its own list and not recursion, because the value may be nested deeply.
    """
    top: list[Any] = [value]
    waiting: list[list[Any] | dict[str, Any]] = [top]
    while waiting:
        inside = waiting.pop()
        for place, each in [*(inside.items() if isinstance(inside, dict) else enumerate(inside))]:
            if each.__class__ is float:
                inside[place] = whole(each)
            elif each.__class__ in (list, dict):
                inside[place] = copy = each.copy()
                waiting.append(copy)
    return top[0]
