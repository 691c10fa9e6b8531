"""Liquid for mails: with limits, with Shopify's filters, and with blank values treated as missing.

A mail fails where it would show a value that is missing, null or blank: nobody is greeted with "Hello ,". It fails too
where it would show a control character. A rendering is a list of pieces, so that those of the template itself, which
are the same in every mail, are encoded once.
"""

import re
from collections.abc import Mapping
from typing import TextIO

from liquid import BoundTemplate, Environment, FalsyStrictUndefined, RenderContext
from liquid.builtin.content import ContentNode, Literal
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import LiquidSyntaxError, OutputStreamLimitError, UndefinedError
from liquid.expression import Expression
from liquid.filter import flatten
from liquid.output import LimitedStringIO
from liquid.stringify import to_liquid_string
from liquid.token import Token
from liquid.undefined import is_undefined

from senders.content import blanks
from senders.content.filters.install import install
from senders.content.filters.values import as_shown
from senders.content.quoted_printable import StaticText

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Of C0 only tab, LF and CR are text: lines in a body, and one blank in a header."""
_NO_SUCH_ITEM = "index out of range"


class ControlCharacter(LiquidSyntaxError):
    """A control character in a template or in a value that it shows. The message does not repeat the text."""


def _checked(text: str, token: Token | None = None) -> str:
    """The text with `\\n` as its line ends; raises ControlCharacter."""
    if not text.isprintable():
        if found := _CONTROL.search(text):
            raise ControlCharacter(f"the control character U+{ord(found[0]):04X} is not allowed", token=token)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


class _StaticNode(ContentNode):
    """Text of the template itself."""

    def __init__(self, token: Token, text: str) -> None:
        super().__init__(token, StaticText(_checked(text, token)))


class _StaticText(Literal):
    node_class = _StaticNode


class _PieceBuffer(LimitedStringIO):
    """Keeps what is written as pieces."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        """Add a piece; raises ControlCharacter, and OutputStreamLimitError if all pieces together are too long."""
        if not text:
            return 0
        self.size += len(text) if text.isascii() else len(text.encode())
        if self.size > self.limit:
            raise OutputStreamLimitError("output stream limit reached", token=None)
        self.pieces.append(text if type(text) is StaticText else _checked(text))
        return len(text)


class _LimitedEnvironment(Environment):
    """Limits what one rendering may cost. A newsletter needs a hundredth of each."""

    loop_iteration_limit = 10_000
    output_stream_limit = 500_000
    local_namespace_limit = 100_000
    context_depth_limit = 20


def _output_of(value: object) -> object:
    """A value as templates show it: whole numbers are written whole, in lists too."""
    if isinstance(value, list):
        return ["" if blanks.is_blank(item) else as_shown(item) for item in flatten(value)]
    return as_shown(value)


class _StrictOutputNode(OutputNode):
    """Output that names the value that is missing, instead of showing nothing."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Write the value; raises UndefinedError with its name and place."""
        try:
            value = self.expression.evaluate(context)
            if value is None or (is_undefined(value) and getattr(value, "hint", None) == _NO_SUCH_ITEM):
                raise UndefinedError(str(self.expression) or "nil", token=self.token)
            return buffer.write(to_liquid_string(_output_of(value), context.autoescape))
        except UndefinedError as error:
            error.token = error.token or self.token
            raise


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
    environment.add_tag(_StaticText)
    environment.add_tag(_StrictOutput)
    environment.add_tag(_StrictEchoTag)
    environment.add_tag(_CycleTag)
    install(environment)
    return environment


def rendered_pieces(template: BoundTemplate, names: Mapping[str, object]) -> list[str]:
    """The rendering in pieces; raises LiquidError. A piece of the template itself is StaticText."""
    buffer = _PieceBuffer(_LimitedEnvironment.output_stream_limit)
    template.render_with_context(RenderContext(template, globals=names), buffer)
    return buffer.pieces


_PLAIN = _environment(autoescape=False)
_HTML = _environment(autoescape=True)


def compile_part(source: str, *, as_html: bool) -> BoundTemplate:
    """The source, ready to be rendered; raises LiquidError with the place of the fault."""
    template = (_HTML if as_html else _PLAIN).from_string(source)
    blanks.treat_blank_as_missing(template)
    return template
