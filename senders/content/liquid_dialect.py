"""Liquid as templates are written in it here: under limits, with Shopify's filters, and blank as missing.

A value that is missing, null or blank fails the mail where it is shown: nobody is greeted with "Hello ,".
"""

from typing import TextIO

from liquid import BoundTemplate, Environment, FalsyStrictUndefined, RenderContext
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.exceptions import UndefinedError
from liquid.filter import flatten
from liquid.stringify import to_liquid_string
from liquid.undefined import is_undefined

from senders.content import blanks, filters

_NO_SUCH_ITEM = "index out of range"


class _Dialect(Environment):
    """Bounds what one rendering may take; a newsletter needs a hundredth of each."""

    loop_iteration_limit = 10_000
    output_stream_limit = 500_000
    local_namespace_limit = 100_000
    context_depth_limit = 20


class _ShownNode(OutputNode):
    """Output that says which value is missing, instead of showing nothing."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Writes the value; raises UndefinedError with its name and place."""
        try:
            shown = self._shown(self.expression.evaluate(context))
        except UndefinedError as error:
            error.token = error.token or self.token
            raise
        return buffer.write(to_liquid_string(shown, context.autoescape))

    def _shown(self, value: object) -> object:
        if value is None or (is_undefined(value) and getattr(value, "hint", None) == _NO_SUCH_ITEM):
            raise UndefinedError(str(self.expression) or "nil", token=self.token)
        if isinstance(value, list):
            return ["" if blanks.is_blank(each) else filters.as_shown(each) for each in flatten(value)]
        return filters.as_shown(value)


class _Shown(Output):
    node_class = _ShownNode


class _EchoNode(_ShownNode, EchoNode):
    pass


class _Echo(EchoTag):
    node_class = _EchoNode


def _dialect(*, autoescape: bool) -> Environment:
    environment = _Dialect(undefined=FalsyStrictUndefined, autoescape=autoescape)
    environment.add_tag(_Shown)
    environment.add_tag(_Echo)
    filters.install(environment)
    return environment


_PLAIN = _dialect(autoescape=False)
_HTML = _dialect(autoescape=True)


def compile_part(source: str, *, as_html: bool) -> BoundTemplate:
    """The source, ready to be rendered; raises LiquidError with the place of the fault."""
    template = (_HTML if as_html else _PLAIN).from_string(source)
    blanks.teach_conditions(template)
    return template
