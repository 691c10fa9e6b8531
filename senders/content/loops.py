"""`{% for %}` as python-liquid has it, without what its generality costs each loop of each mail."""

from collections.abc import Iterable
from typing import TextIO

from liquid import RenderContext
from liquid.ast import BlockNode, Node
from liquid.builtin.expressions import LoopExpression
from liquid.builtin.tags.for_tag import ForLoop, ForNode, ForTag
from liquid.exceptions import BreakLoop, ContextDepthError, ContinueLoop
from liquid.token import Token


class _ForNode(ForNode):
    """One loop."""

    def __init__(
        self, token: Token, expression: LoopExpression, block: BlockNode, default: BlockNode | None = None
    ) -> None:
        super().__init__(token, expression, block, default)
        self._name = f"{expression.identifier}-{expression.iterable}"
        self._item_name = str(expression.identifier)
        options = (expression.limit, expression.offset, expression.reversed or None)
        self._whole = all(option is None for option in options)

    def render(self, context: RenderContext, buffer: TextIO) -> int:
        """Write the block once for each item. No tag can be disabled here."""
        items, length = self._items(context)
        if not length:
            return 0 if self.default is None else self.default.render(context, buffer)
        loop = ForLoop(self._name, iter(()), length, context.parentloop())
        context.raise_for_loop_limit(length)
        if context.scope.size() > context.env.context_depth_limit:
            raise ContextDepthError("maximum context depth reached, possible recursive include", token=None)
        context.loops.append(loop)
        names: dict[str, object] = {"forloop": loop}
        context.scope.push(names)
        try:
            return self._render_items(items, loop, names, context, buffer)
        finally:
            context.scope.pop()
            context.loops.pop()

    def _items(self, context: RenderContext) -> tuple[Iterable[object], int]:
        if self._whole:
            items = self.expression.iterable.evaluate(context)
            if type(items) is list:
                context.stopindex(self._name, len(items))  # for a later loop that goes on from here
                return items, len(items)
        return self.expression.evaluate(context)

    def _render_items(
        self, items: Iterable[object], loop: ForLoop, names: dict[str, object], context: RenderContext, buffer: TextIO
    ) -> int:
        name, block = self._item_name, self.block
        one: Node = block.nodes[0] if len(block.nodes) == 1 and not block.blank else block
        size = 0
        for loop._index, names[name] in enumerate(items):
            try:
                size += one.render(context, buffer)
            except ContinueLoop:
                continue
            except BreakLoop:
                break
        return size


class FastForTag(ForTag):
    """Makes these loops."""

    node_class = _ForNode
