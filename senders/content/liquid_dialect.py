"""Liquid for mails: with limits, with Shopify's filters, and with blank values treated as missing.

A mail fails where it would show a value that is missing, null or blank: nobody is greeted with "Hello ,".
"""

from typing import TextIO

from liquid import BoundTemplate, Environment, FalsyStrictUndefined, RenderContext, escape
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import UndefinedError
from liquid.expression import Expression
from liquid.filter import flatten
from liquid.stringify import to_liquid_string
from liquid.token import Token
from liquid.undefined import is_undefined

from senders.content import blanks
from senders.content.filters.install import install
from senders.content.filters.values import as_shown
from senders.content.rendering import StaticTextTag

_NO_SUCH_ITEM = "index out of range"
LONGEST_OUTPUT = 500_000
"""In bytes of UTF-8, of one part of a mail."""


class _LimitedEnvironment(Environment):
    """Limits what one rendering may cost. A newsletter needs a hundredth of each."""

    loop_iteration_limit = 10_000
    output_stream_limit = LONGEST_OUTPUT
    local_namespace_limit = 100_000
    context_depth_limit = 20


def _output_of(value: object) -> object:
    """A value as templates show it: whole numbers are written whole, in lists too."""
    if isinstance(value, list):
        return ["" if blanks.is_blank(item) else as_shown(item) for item in flatten(value)]
    return as_shown(value)


class _StrictOutputNode(OutputNode):
    """Output that names the value that is missing, instead of showing nothing."""

    def __init__(self, token: Token, expression: Expression) -> None:
        super().__init__(token, expression)
        path = _plain_path(expression)
        self._path: list[object] | None = None if path is None else [*path.path]
        self._path_token = None if path is None else path.token

    def render(self, context: RenderContext, buffer: TextIO) -> int:
        """Write the value; raises UndefinedError with its name and place. No tag can be disabled here."""
        try:
            if self._path is None:
                value = self.expression.evaluate(context)
            else:
                value = context.get(self._path, token=self._path_token)
            if type(value) is str:
                return buffer.write(escape(value) if context.autoescape else value)
            if value is None or (is_undefined(value) and getattr(value, "hint", None) == _NO_SUCH_ITEM):
                raise UndefinedError(str(self.expression) or "nil", token=self.token)
            return buffer.write(to_liquid_string(_output_of(value), context.autoescape))
        except UndefinedError as error:
            error.token = error.token or self.token
            raise


def _plain_path(expression: Expression) -> Path | None:
    """The path of an output that has no filter and no name in brackets."""
    if isinstance(expression, FilteredExpression) and not expression.filters and type(expression.left) is Path:
        return None if expression.left.children() else expression.left
    return None


class _StrictOutput(Output):
    node_class = _StrictOutputNode


class _StrictEchoNode(_StrictOutputNode, EchoNode):
    pass


class _StrictEchoTag(EchoTag):
    node_class = _StrictEchoNode


class _ShownExpression(Expression):
    """Another expression, whose value is text as templates show it."""

    __slots__ = ("inner",)

    def __init__(self, inner: Expression) -> None:
        super().__init__(inner.token)
        self.inner = inner

    def __str__(self) -> str:
        return str(self.inner)

    def evaluate(self, context: RenderContext) -> object:
        """The value, with whole numbers written whole."""
        return _output_of(self.inner.evaluate(context))

    def children(self) -> list[Expression]:
        """The other expression."""
        return [self.inner]


class _CycleNode(CycleNode):
    """`cycle` with whole numbers written whole."""

    def __init__(self, token: Token, group: Expression | None, args: list[Expression]) -> None:
        super().__init__(token, group, [_ShownExpression(argument) for argument in args])


class _CycleTag(CycleTag):
    node_class = _CycleNode


def _environment(*, autoescape: bool) -> Environment:
    environment = _LimitedEnvironment(undefined=FalsyStrictUndefined, autoescape=autoescape)
    environment.add_tag(StaticTextTag)
    environment.add_tag(_StrictOutput)
    environment.add_tag(_StrictEchoTag)
    environment.add_tag(_CycleTag)
    install(environment)
    return environment


_PLAIN = _environment(autoescape=False)
_HTML = _environment(autoescape=True)


def compile_part(source: str, *, as_html: bool) -> BoundTemplate:
    """The source, ready to be rendered; raises LiquidError with the place of the fault."""
    template = (_HTML if as_html else _PLAIN).from_string(source)
    blanks.treat_blank_as_missing(template)
    return template
