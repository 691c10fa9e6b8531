"""The few shapes of expressions that the rules of the tests use, evaluated by walking Python's own syntax tree.

Written from the language's description alone: numbers of `event` and `user` are doubles, a missing field is an error,
`&&` and `||` give an answer if either side decides it, dates in JSON are texts that `timestamp` reads. Doubles and
whole numbers mix; two whole numbers divide to a whole one.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import Any


class Failed(ValueError):
    """The expression has no value on this input."""


_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, many: one in many,
}


def _quotient(one: Any, other: Any) -> Any:
    if type(one) is type(other) is int:
        return math.trunc(Fraction(one, other))
    if other == 0:  # as doubles divide
        return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1, other)
    return one / other


def _remainder(one: Any, other: Any) -> Any:
    if type(one) is type(other) is int:
        return one - other * math.trunc(Fraction(one, other))
    if other == 0 or math.isinf(one):
        raise ZeroDivisionError
    return math.fmod(one, other)


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _quotient,
    ast.Mod: _remainder,
}
Roots = Mapping[str, Callable[[str], Any]]
"""By name (`event`, `user`, `score`, …) how one of its fields is read; raises Failed or KeyError if it is missing."""


@cache
def _parsed(text: str) -> ast.expr:
    python = re.sub(r"!(?!=)", " not ", text.replace("&&", " and ").replace("||", " or "))
    return ast.parse(re.sub(r"\s+", " ", python).strip(), mode="eval").body


def value(text: str, roots: Roots) -> Any:
    """The expression's value; raises Failed."""
    return _walk(_parsed(text), roots)


def holds(text: str | None, roots: Roots) -> bool:
    """Whether it is true, or not there; raises Failed if it is neither true nor false."""
    if text is None:
        return True
    found = value(text, roots)
    if found is not True and found is not False:
        raise Failed(f"neither true nor false: {text}")
    return found


def may_hold(text: str | None, roots: Roots) -> bool:
    """Whether it is not false already by those sides of its `&&` that name nothing but `event` and `now`."""
    return text is None or all(_may_be_true(side, roots) for side in _sides(_parsed(text)) if _is_of_the_event(side))


def _sides(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [side for value in node.values for side in _sides(value)]
    return [node]


def _is_of_the_event(node: ast.expr) -> bool:
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return names <= {"event", "now", "true", "false", "has", *_FUNCTIONS}


def _may_be_true(node: ast.expr, roots: Roots) -> bool:
    try:
        return _walk(node, roots) is not False
    except Failed:
        return True


def _walk(node: ast.expr, roots: Roots) -> Any:
    match node:
        case ast.Constant(value=constant):
            return constant
        case ast.Name(id="true" | "false" as word):
            return word == "true"
        case ast.Name(id="now"):
            return roots["now"]("")
        case ast.Attribute(value=ast.Name(id=root), attr=field):
            return _field(roots, root, field)
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="metric"), attr=name), attr=field):
            return _field(roots, "metric", f"{name}.{field}")
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="occurrence"), attr=name), attr=field):
            return _field(roots, "occurrence", f"{name}.{field}")
        case ast.Call(
            func=ast.Name(id="has"),
            args=[ast.Attribute(value=ast.Attribute(value=ast.Name(id="occurrence"), attr=name), attr=field)],
        ):
            return _has(roots, "occurrence", f"{name}.{field}")
        case ast.Call(func=ast.Name(id="has"), args=[ast.Attribute(value=ast.Name(id=root), attr=field)]):
            return _has(roots, root, field)
        case ast.Attribute(value=ast.Subscript(value=listed, slice=ast.Constant(value=int(number))), attr=field):
            return _of_item(_walk(listed, roots), number, field)
        case ast.Call(func=ast.Name(id=function), args=[argument]) if function in _FUNCTIONS:
            return _safely(lambda given, _: _FUNCTIONS[function](given), _walk(argument, roots), None)
        case ast.Call(func=ast.Attribute(value=moment, attr="getHours"), args=[]):
            return _walk(moment, roots).hour
        case ast.List(elts=items):
            return [_walk(item, roots) for item in items]
        case ast.BoolOp(op=op, values=sides):
            return _logic(isinstance(op, ast.Or), sides, roots)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _truth(_walk(operand, roots))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _safely(_COMPARE[type(op)], _walk(left, roots), _walk(right, roots))
        case ast.BinOp(left=left, op=op, right=right):
            return _safely(_ARITHMETIC[type(op)], _walk(left, roots), _walk(right, roots))
    raise Failed(f"the slow model does not know {ast.dump(node)}")


def _of_item(listed: Any, number: int, field: str) -> Any:
    try:
        found = listed[number][field]
    except (IndexError, KeyError):
        raise Failed(f"no item {number} with {field}") from None
    return float(found) if isinstance(found, int) and not isinstance(found, bool) else found


def _field(roots: Roots, root: str, field: str) -> Any:
    try:
        found = roots[root](field)
    except KeyError:
        raise Failed(f"no {root}.{field}") from None
    return float(found) if isinstance(found, int) and not isinstance(found, bool) else found


def _has(roots: Roots, root: str, field: str) -> bool:
    try:
        _field(roots, root, field)
    except Failed:
        return False
    return True


def _timestamp(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone: {text}")
    return moment.astimezone(UTC)


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "timestamp": _timestamp,
    "days": lambda number: timedelta(days=number),
    "hours": lambda number: timedelta(hours=number),
    "size": len,
}


def _truth(found: Any) -> bool:
    if found is not True and found is not False:
        raise Failed("neither true nor false")
    return bool(found)


def _logic(wanted: bool, sides: list[ast.expr], roots: Roots) -> bool:
    """`||` with `wanted` true, `&&` with false: one side that has the wanted value decides, even beside an error."""
    failed: Failed | None = None
    for side in sides:
        try:
            if _truth(_walk(side, roots)) is wanted:
                return wanted
        except Failed as error:
            failed = error
    if failed is not None:
        raise failed
    return not wanted


def _safely(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    try:
        return operation(left, right)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise Failed(str(error)) from None
