"""The few shapes of expressions that the chaos rules use, evaluated by walking Python's own syntax tree.

Written from the language's description alone: numbers of `event` and `user` are doubles, a missing field is an error,
`&&` and `||` give an answer where either side decides it.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
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
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
Roots = Mapping[str, Callable[[str], Any]]
"""By name (`event`, `user`, `score`, …) how one of its fields is read; raises Failed or KeyError where it is not."""


@cache
def _parsed(text: str) -> ast.expr:
    python = re.sub(r"!(?!=)", " not ", text.replace("&&", " and ").replace("||", " or "))
    return ast.parse(re.sub(r"\s+", " ", python).strip(), mode="eval").body


def value(text: str, roots: Roots) -> Any:
    """The expression's value; raises Failed."""
    return _walk(_parsed(text), roots)


def holds(text: str | None, roots: Roots) -> bool:
    """Whether it is true, or not there; raises Failed where it is neither true nor false."""
    if text is None:
        return True
    found = value(text, roots)
    if found is not True and found is not False:
        raise Failed(f"neither true nor false: {text}")
    return found


def asks_more_than_the_event(text: str | None) -> bool:
    """Whether it names anything but `event` and `now`."""
    names = {node.id for node in ast.walk(_parsed(text)) if isinstance(node, ast.Name)} if text else set()
    return not names <= {"event", "now"}


def _walk(node: ast.expr, roots: Roots) -> Any:
    match node:
        case ast.Constant(value=constant):
            return constant
        case ast.Name(id="true" | "false" as word):
            return word == "true"
        case ast.Attribute(value=ast.Name(id=root), attr=field):
            return _field(roots, root, field)
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


def _field(roots: Roots, root: str, field: str) -> Any:
    try:
        found = roots[root](field)
    except KeyError:
        raise Failed(f"no {root}.{field}") from None
    return float(found) if isinstance(found, int) and not isinstance(found, bool) else found


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
    except (TypeError, ZeroDivisionError) as error:
        raise Failed(str(error)) from None
