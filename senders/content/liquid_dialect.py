"""Liquid for mails: with limits, with Shopify's filters, and with blank values treated as missing.

A mail fails where it would show a value that is missing, null or blank: nobody is greeted with "Hello ,".
"""

from liquid import BoundTemplate, Environment, FalsyStrictUndefined, RenderContext
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.expression import Expression
from liquid.token import Token

from senders.content import blanks
from senders.content.filters.install import install
from senders.content.loops import FastForTag
from senders.content.outputs import StrictEchoTag, StrictOutput, shown
from senders.content.rendering import LONGEST_OUTPUT, StaticTextTag
from senders.content.runs import join_runs
from senders.content.tracked_links import track_links


class _LimitedEnvironment(Environment):
    """Limits what one rendering may cost. A newsletter needs a hundredth of each."""

    loop_iteration_limit = 10_000
    output_stream_limit = LONGEST_OUTPUT
    local_namespace_limit = 100_000
    context_depth_limit = 20


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
        return shown(self.inner.evaluate(context))

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
    environment.add_tag(StrictOutput)
    environment.add_tag(StrictEchoTag)
    environment.add_tag(FastForTag)
    environment.add_tag(_CycleTag)
    install(environment)
    return environment


_PLAIN = _environment(autoescape=False)
_HTML = _environment(autoescape=True)


def compile_part(source: str, *, as_html: bool, has_links: bool = False) -> BoundTemplate:
    """The source, ready to be rendered; raises LiquidError with the place of the fault."""
    template = (_HTML if as_html else _PLAIN).from_string(source)
    blanks.treat_blank_as_missing(template)
    if has_links:
        track_links(template, as_html=as_html)
    join_runs(template)
    return template
