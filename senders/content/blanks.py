"""Treats blank values in templates as missing: removes them from the data, and makes them false in conditions.

In Liquid an empty text is true, null is shown as nothing, and a missing value does not equal `blank`. But somebody who
writes `{% if user.name %}` means a name that can be read.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import date, datetime
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

_NEVER_UNDEFINED = frozenset({int, float, bool, dict, list, datetime, date})
"""Asked first: `is_undefined` costs as much as the rest of a value."""
_NESTED = frozenset({dict, list})
_UNSEEN = frozenset({"Cc", "Cf"})
_FILLERS = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]")
"""Letters and marks that show nothing: the fillers of Hangul, a Braille cell without dots, variation selectors."""


def is_blank(value: object) -> bool:
    """Whether there is nothing to read: null, or a text of white space and invisible characters only."""
    if isinstance(value, str):
        return not "!" <= value[:1] <= "~" and all(
            character.isspace() or unicodedata.category(character) in _UNSEEN or _FILLERS.match(character)
            for character in value
        )
    return value is None or (type(value) not in _NEVER_UNDEFINED and is_undefined(value))


def without_blanks(names: Mapping[str, Any]) -> dict[str, Any]:
    """The data without blank values, at every depth. A blank item of a list becomes a missing one."""
    return {
        name: _without_blanks(value, name) if value.__class__ in _NESTED else value
        for name, value in names.items()
        if not is_blank(value)
    }


def _without_blanks(value: Any, path: str) -> Any:
    if value.__class__ is dict:
        return {
            key: _without_blanks(item, f"{path}.{key}") if item.__class__ in _NESTED else item
            for key, item in value.items()
            if not is_blank(item)
        }
    return [_item(item, path, index) for index, item in enumerate(value)]


def _item(item: Any, path: str, index: int) -> Any:
    if is_blank(item):
        return FalsyStrictUndefined(f"{path}[{index}]", token=None)
    return _without_blanks(item, f"{path}[{index}]") if item.__class__ in _NESTED else item


def treat_blank_as_missing(template: BoundTemplate) -> None:
    """Make blank and missing values false in the template's conditions, and equal to `""`, `blank` and `empty`."""
    context = RenderContext(template)
    for node in _nodes(template.nodes, context):
        if isinstance(node, MultiExpressionBlockNode) and any(map(_means_blank, node.expression.expressions)):
            node.expression.left = _BlankAsEmpty(node.expression.left)
        for expression in node.expressions():
            _change_conditions(expression)


def _nodes(nodes: list[Node], context: RenderContext) -> Iterator[Node]:
    rest = list(nodes)
    while rest:
        node = rest.pop()
        yield node
        rest.extend(node.children(context, include_partials=False))


def _change_conditions(expression: Expression) -> None:
    if isinstance(expression, EqExpression | NeExpression):
        if _means_blank(expression.right):
            expression.left = _BlankAsEmpty(expression.left)
        elif _means_blank(expression.left):
            expression.right = _BlankAsEmpty(expression.right)
    elif isinstance(expression, BooleanExpression):
        expression.expression = _as_condition(expression.expression)
    elif isinstance(expression, LogicalAndExpression | LogicalOrExpression):
        expression.left, expression.right = _as_condition(expression.left), _as_condition(expression.right)
    elif isinstance(expression, LogicalNotExpression):
        expression.right = _as_condition(expression.right)
    for child in expression.children():
        _change_conditions(child)


def _means_blank(expression: Expression) -> bool:
    return isinstance(expression, Blank | Empty) or (isinstance(expression, StringLiteral) and not expression.value)


def _as_condition(expression: Expression) -> Expression:
    return _BlankAsNull(expression) if isinstance(expression, Path) else expression


class _BlankReplacement(Expression):
    """Another expression, whose value is replaced if it is blank."""

    __slots__ = ("inner",)
    replacement: str | None

    def __init__(self, inner: Expression) -> None:
        super().__init__(inner.token)
        self.inner = inner

    def __str__(self) -> str:
        return str(self.inner)

    def evaluate(self, context: RenderContext) -> object:
        value = self.inner.evaluate(context)
        return self.replacement if is_blank(value) else value

    def children(self) -> list[Expression]:
        return [self.inner]


class _BlankAsEmpty(_BlankReplacement):
    """For a comparison with `""`, `blank` or `empty`."""

    __slots__ = ()
    replacement = ""


class _BlankAsNull(_BlankReplacement):
    """For a condition that asks whether there is a value."""

    __slots__ = ()
    replacement = None
