"""Runs: texts and plain outputs that stand side by side in a template, written in one loop.

Most of a mail is made of them. Node by node, python-liquid's calls would cost more than what they do.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO

from liquid import BoundTemplate, RenderContext, escape
from liquid.ast import BlockNode, Node
from liquid.builtin.expressions import FilteredExpression, Path, StringLiteral
from liquid.exceptions import LiquidError
from liquid.expression import Expression

from senders.content.blanks import is_blank
from senders.content.outputs import StrictOutputNode, is_plain_path
from senders.content.quoted_printable import StaticText
from senders.content.rendering import PieceBuffer, StaticNode, checked

_SPECIAL_IN_HTML = re.compile("[&<>\"']")


class _RunPart(NamedTuple):
    """A text, or an output: the first name of its path, and the others; and whether it says what stands for a blank."""

    node: Node
    text: StaticText | None
    name: Any = None
    others: Sequence[object] = ()
    has_default: bool = False


class _TextRun(Node):
    """Two nodes or more."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[_RunPart]) -> None:
        super().__init__(parts[0].node.token)
        self.blank = all(part.node.blank for part in parts)
        self._parts = parts

    def __str__(self) -> str:
        return "".join(str(part.node) for part in self._parts)

    def children(self, static_context: RenderContext, *, include_partials: bool = True) -> list[Node]:
        """The nodes, for analysis."""
        del static_context, include_partials
        return [part.node for part in self._parts]

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Write all parts."""
        if type(buffer) is not PieceBuffer:
            return sum(part.node.render(context, buffer) for part in self._parts)
        before = buffer.size
        node: Node = self
        try:
            pieces: list[str] = []
            size = 0
            for node, text, name, others, has_default in self._parts:
                if text is not None:
                    size += text.size
                    pieces.append(text)
                    continue
                value = _text_at(name, others, context)
                if value is None or (has_default and is_blank(value)):
                    buffer.add(pieces, size)
                    pieces, size = [], 0
                    node.render(context, buffer)
                    continue
                if context.autoescape and _SPECIAL_IN_HTML.search(value):
                    value = escape(value)
                if value.isascii() and value.isprintable():
                    size += len(value)
                else:
                    size += len(value.encode())
                    value = checked(value)
                pieces.append(value)
            buffer.add(pieces, size)
        except LiquidError as error:
            error.token = error.token or node.token
            raise
        return buffer.size - before


def _text_at(name: Any, others: Sequence[object], context: RenderContext) -> str | None:
    """The text at a path of plain objects, if that is what is there."""
    value: object = None
    for names in context.scope._maps:
        if name in names:
            value = names[name]
            break
    for other in others:
        if value.__class__ is not dict or other not in value:
            return None
        value = value[other]
    return value if value.__class__ is str and value else None


def join_runs(template: BoundTemplate) -> None:
    """Replace the runs of a template, in its blocks too. Changes nothing of what it renders."""
    context = RenderContext(template)
    waiting = list(template.nodes)
    while waiting:
        node = waiting.pop()
        waiting.extend(node.children(context, include_partials=False))
        for expression in node.expressions():
            _make_names_plain(expression)
        if isinstance(node, BlockNode):
            node.nodes = _joined(node.nodes)
    template.nodes = _joined(template.nodes)


def _make_names_plain(expression: Expression) -> None:
    """Names as `str`: python-liquid's own class of them is hashed and compared in Python at each look-up."""
    if isinstance(expression, Path):
        expression.path = [str(name) if isinstance(name, str) else name for name in expression.path]
    for child in expression.children():
        _make_names_plain(child)


def _joined(nodes: list[Node]) -> list[Node]:
    found: list[Node] = []
    run: list[_RunPart] = []
    for node in [*nodes, None]:
        part = None if node is None else _part(node)
        if part is not None:
            run.append(part)
            continue
        found += [_TextRun(run)] if len(run) > 1 else [part.node for part in run]
        run = []
        if node is not None:
            found.append(node)
    return found


def _part(node: Node) -> _RunPart | None:
    if type(node) is StaticNode:
        return _RunPart(node, node.text)
    if type(node) is not StrictOutputNode:
        return None
    path = node.path or _path_with_default(node.expression)
    if path is None:
        return None
    name, *others = path.path
    return _RunPart(node, None, name, others, has_default=node.path is None)


def _path_with_default(expression: Expression) -> Path | None:
    """The path of `{{ path | default: 'text' }}`."""
    if not isinstance(expression, FilteredExpression) or not is_plain_path(expression.left):
        return None
    filters = expression.filters or []
    literal = all(type(argument.value) is StringLiteral for each in filters for argument in each.args)
    return expression.left if literal and [each.name for each in filters] == ["default"] else None
