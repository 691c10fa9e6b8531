"""Outputs `{{ … }}` that name the value that is missing, instead of showing nothing."""

from typing import TextIO, TypeGuard

from liquid import RenderContext, escape
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import UndefinedError
from liquid.expression import Expression
from liquid.filter import flatten
from liquid.stringify import to_liquid_string
from liquid.token import Token
from liquid.undefined import is_undefined

from senders.content import blanks
from senders.content.filters.values import as_shown

_NO_SUCH_ITEM = "index out of range"


def shown(value: object) -> object:
    """A value as templates show it: whole numbers are written whole, in lists too."""
    if isinstance(value, list):
        return ["" if blanks.is_blank(item) else as_shown(item) for item in flatten(value)]
    return as_shown(value)


class StrictOutputNode(OutputNode):
    """One output."""

    def __init__(self, token: Token, expression: Expression) -> None:
        super().__init__(token, expression)
        self.path = _plain_path(expression)
        """The path, if the output has no filter and no name in brackets."""

    def render(self, context: RenderContext, buffer: TextIO) -> int:
        """Write the value; raises UndefinedError with its name and place. No tag can be disabled here."""
        try:
            if self.path is None:
                value = self.expression.evaluate(context)
            else:
                value = context.get(self.path.path, token=self.path.token)  # type: ignore[arg-type]  # it changes nothing
            if type(value) is str:
                return buffer.write(escape(value) if context.autoescape else value)
            if value is None or (is_undefined(value) and getattr(value, "hint", None) == _NO_SUCH_ITEM):
                raise UndefinedError(str(self.expression) or "nil", token=self.token)
            return buffer.write(to_liquid_string(shown(value), context.autoescape))
        except UndefinedError as error:
            error.token = error.token or self.token
            raise


def _plain_path(expression: Expression) -> Path | None:
    if isinstance(expression, FilteredExpression) and not expression.filters and is_plain_path(expression.left):
        return expression.left
    return None


def is_plain_path(expression: Expression) -> TypeGuard[Path]:
    """Whether an expression is a path without a name in brackets."""
    return type(expression) is Path and not expression.children()


class StrictOutput(Output):
    """`{{ … }}`."""

    node_class = StrictOutputNode


class _StrictEchoNode(StrictOutputNode, EchoNode):
    pass


class StrictEchoTag(EchoTag):
    """`{% echo … %}`."""

    node_class = _StrictEchoNode
