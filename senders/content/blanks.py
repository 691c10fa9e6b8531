"""Blank is as missing in a template: data without its blanks, and conditions for which a blank text is none.

Liquid takes an empty text for true, null for a value that shows nothing, and what is missing for different from
`blank`. A person who writes `{% if user.name %}` means a name that can be read.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from liquid import BoundTemplate, FalsyStrictUndefined, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions import BooleanExpression, Path, StringLiteral
from liquid.builtin.expressions.logical import (
    EqExpression,
    LogicalAndExpression,
    LogicalNotExpression,
    LogicalOrExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import Blank, Empty
from liquid.builtin.tags.case_tag import MultiExpressionBlockNode
from liquid.expression import Expression
from liquid.undefined import is_undefined


def is_blank(value: object) -> bool:
    """Whether there is nothing to read: null, or a text of white space and unseen characters alone."""
    if isinstance(value, str):
        return all(letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf") for letter in value)
    return value is None or is_undefined(value)


def without_blanks(names: Mapping[str, Any]) -> dict[str, Any]:
    """The names and all that is in them, without what is blank. In a list its place is kept, as one that is missing."""
    return {name: _kept(value, name) for name, value in names.items() if not is_blank(value)}


def _kept(value: Any, place: str) -> Any:
    if isinstance(value, dict):
        return {key: _kept(each, f"{place}.{key}") for key, each in value.items() if not is_blank(each)}
    if isinstance(value, list):
        return [_item(each, f"{place}[{index}]") for index, each in enumerate(value)]
    return value


def _item(value: Any, place: str) -> Any:
    return FalsyStrictUndefined(place, token=None) if is_blank(value) else _kept(value, place)


def teach_conditions(template: BoundTemplate) -> None:
    """Makes what is blank or missing false in the template's conditions, and equal to `""`, `blank` and `empty`."""
    context = RenderContext(template)
    for node in _nodes(template.nodes, context):
        if isinstance(node, MultiExpressionBlockNode) and any(map(_means_blank, node.expression.expressions)):
            node.expression.left = _OrEmpty(node.expression.left)
        for expression in node.expressions():
            _teach(expression)


def _nodes(nodes: list[Node], context: RenderContext) -> Iterator[Node]:
    rest = list(nodes)
    while rest:
        node = rest.pop()
        yield node
        rest.extend(node.children(context, include_partials=False))


def _teach(expression: Expression) -> None:
    if isinstance(expression, EqExpression | NeExpression):
        if _means_blank(expression.right):
            expression.left = _OrEmpty(expression.left)
        elif _means_blank(expression.left):
            expression.right = _OrEmpty(expression.right)
    elif isinstance(expression, BooleanExpression):
        expression.expression = _asked(expression.expression)
    elif isinstance(expression, LogicalAndExpression | LogicalOrExpression):
        expression.left, expression.right = _asked(expression.left), _asked(expression.right)
    elif isinstance(expression, LogicalNotExpression):
        expression.right = _asked(expression.right)
    for child in expression.children():
        _teach(child)


def _means_blank(expression: Expression) -> bool:
    return isinstance(expression, Blank | Empty) or (isinstance(expression, StringLiteral) and not expression.value)


def _asked(expression: Expression) -> Expression:
    return _OrNothing(expression) if isinstance(expression, Path) else expression


class _Wrapped(Expression):
    """Another expression, of which a blank value is read otherwise."""

    __slots__ = ("inner",)
    instead: str | None

    def __init__(self, inner: Expression) -> None:
        super().__init__(inner.token)
        self.inner = inner

    def __str__(self) -> str:
        return str(self.inner)

    def evaluate(self, context: RenderContext) -> object:
        value = self.inner.evaluate(context)
        return self.instead if is_blank(value) else value

    def children(self) -> list[Expression]:
        return [self.inner]


class _OrEmpty(_Wrapped):
    """In a comparison with `""`, `blank` or `empty`."""

    __slots__ = ()
    instead = ""


class _OrNothing(_Wrapped):
    """Where a condition asks whether there is something."""

    __slots__ = ()
    instead = None
