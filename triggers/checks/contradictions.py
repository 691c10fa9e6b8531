"""Conditions that can never be true: constants, and comparisons joined by && that exclude each other.

Only certain cases are reported: each comparison of a path with a literal narrows an interval, and an empty interval is
a contradiction. Other conditions narrow nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from triggers.cel.syntax import parse
from triggers.cel.tree import Binary, Call, Expr, Literal, Name, Select, Unary, conjuncts

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Why all the conditions cannot hold together: the part that excludes the parts before it."""

    text: int
    """Which of the texts holds the part."""
    offset: int
    why: str


@dataclass(slots=True)
class _Known:
    """The values that the conditions so far leave for one path."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    equal: str | bool | None = None

    def narrow(self, operator: str, value: float) -> None:
        if operator in (">", ">=", "==") and (value > self.low or (value == self.low and operator == ">")):
            self.low, self.low_open = value, operator == ">"
        if operator in ("<", "<=", "==") and (value < self.high or (value == self.high and operator == "<")):
            self.high, self.high_open = value, operator == "<"

    @property
    def empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))


def contradiction(texts: Sequence[str], about: str = "") -> Contradiction | None:
    """The first part of the conditions, all of which must hold, that excludes the parts before it.

    With `about`, such as `event.`, only comparisons of paths that contain it count.
    """
    known: dict[str, _Known] = {}
    for number, text in enumerate(texts):
        for part in conjuncts(parse(text)):
            if isinstance(part, Literal) and part.value is False:
                return Contradiction(number, part.offset, "this is never true")
            compared = _comparison(part)
            if compared is None or about not in compared[0]:
                continue
            path, operator, value = compared
            if not _agrees(known.setdefault(path, _fresh(path)), operator, value):
                return Contradiction(number, part.offset, f"the conditions on `{path}` exclude each other")
    return None


def _agrees(bounds: _Known, operator: str, value: object) -> bool:
    """Notes one more comparison; whether a value is left for which all of them hold."""
    if isinstance(value, str | bool):
        if operator != "==":
            return True
        agrees = bounds.equal is None or bounds.equal == value
        bounds.equal = value
        return agrees
    if isinstance(value, int | float):
        bounds.narrow(operator, float(value))
    return not bounds.empty


def _fresh(path: str) -> _Known:
    return _Known(low=0.0) if path.startswith("size(") else _Known()


def _comparison(node: Expr) -> tuple[str, str, object] | None:
    if not isinstance(node, Binary) or node.operator not in _FLIPPED:
        return None
    for side, other, operator in (
        (node.left, node.right, node.operator),
        (node.right, node.left, _FLIPPED[node.operator]),
    ):
        path, value = _path(side), _value(other)
        if path and value is not None:
            return path, operator, value
    return None


def _value(node: Expr) -> object | None:
    if isinstance(node, Unary) and node.operator == "-":
        value = _value(node.operand)
        return -value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return node.value if isinstance(node, Literal) else None


def _path(node: Expr) -> str:
    if isinstance(node, Name):
        return node.name
    if isinstance(node, Select):
        owner = _path(node.operand)
        return f"{owner}.{node.field}" if owner else ""
    if isinstance(node, Call) and node.function == "size" and node.receiver is None and len(node.arguments) == 1:
        owner = _path(node.arguments[0])
        return f"size({owner})" if owner else ""
    return ""
