"""Rendering in pieces: the same as python-liquid's, without what its generality costs a mail.

A template's own text is a StaticText, which is encoded once. A control character, in it or in a value, is refused.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TextIO

from liquid import BoundTemplate, RenderContext
from liquid.builtin.content import ContentNode, Literal
from liquid.exceptions import LiquidError, LiquidInterrupt, LiquidSyntaxError, OutputStreamLimitError, StopRender
from liquid.output import LimitedStringIO
from liquid.token import Token
from liquid.undefined import UNDEFINED

from senders.content.quoted_printable import StaticText

LONGEST_OUTPUT = 500_000
"""In bytes of UTF-8, of one part of a mail."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
"""Of C0 only white space is text: a tab, and what ends a line (Word writes its soft line breaks as VT)."""
_NOT_PARTIAL = {"partial": False}
_ABSENT = object()


class ControlCharacter(LiquidSyntaxError):
    """A control character in a template or in a value that it shows. The message does not repeat the text."""


def checked(text: str, token: Token | None = None) -> str:
    """The text with `\\n` as its line ends; raises ControlCharacter."""
    if found := _CONTROL.search(text):
        raise ControlCharacter(f"the control character U+{ord(found[0]):04X} is not allowed", token=token)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\v", "\n").replace("\f", "\n")


class StaticNode(ContentNode):
    """Text of the template itself."""

    text: StaticText

    def __init__(self, token: Token, text: str) -> None:
        super().__init__(token, StaticText(checked(text, token)))

    def render(self, _: RenderContext, buffer: TextIO) -> int:
        """Write the text. No tag can be disabled here."""
        return buffer.write(self.text)


class StaticTextTag(Literal):
    """Makes StaticText of what stands between a template's tags."""

    node_class = StaticNode


class PieceBuffer(LimitedStringIO):
    """Keeps what is written as pieces."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        """Add a piece; raises ControlCharacter, and OutputStreamLimitError if all pieces together are too long."""
        if type(text) is StaticText:
            size = text.size
        elif text.isascii() and text.isprintable():
            size = len(text)
        else:
            size = len(text.encode())
            text = checked(text)
        self.add([text] if size else [], size)
        return size

    def add(self, pieces: Sequence[str], size: int) -> None:
        """Add pieces that are StaticText or `checked`, of so many bytes of UTF-8; raises OutputStreamLimitError."""
        self.size += size
        if self.size > self.limit:
            raise OutputStreamLimitError("output stream limit reached", token=None)
        self.pieces += pieces


class _MailContext(RenderContext):
    """Looks names up in plain objects first, which is what a command's data and a profile are made of."""

    __slots__ = ()

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        """The value at a path, as python-liquid finds it."""
        value = _ABSENT
        for names in self.scope._maps:
            if path[0] in names:
                value = names[path[0]]  # type: ignore[index]  # it is among these names
                break
        for segment in path[1:]:
            if type(value) is not dict or type(segment) is not str or segment not in value:
                return super().get(path, token=token, default=default)
            value = value[segment]
        return super().get(path, token=token, default=default) if value is _ABSENT else value

    def resolve(self, name: str, *, token: Token | None = None, default: object = UNDEFINED) -> object:
        """The value of a name, as python-liquid finds it."""
        for names in self.scope._maps:
            if name in names:
                return names[name]
        return super().resolve(name, token=token, default=default)


def _only_text(template: BoundTemplate) -> StaticText | None:
    """The text of a template without tags, such as a name; None for any other."""
    first = template.nodes[0] if len(template.nodes) == 1 else None
    return first.text if isinstance(first, StaticNode) else None


def rendered_pieces(template: BoundTemplate, names: Mapping[str, object], limit: int) -> list[str]:
    """The rendering in pieces; raises LiquidError, also if they have more than `limit` bytes of UTF-8."""
    if (text := _only_text(template)) is not None and text.size <= limit:
        return [text]
    buffer = PieceBuffer(limit)
    context = _MailContext(template, globals=names)
    context.scope.push(_NOT_PARTIAL)
    token = None
    try:
        for node in template.nodes:
            token = node.token
            node.render(context, buffer)
    except LiquidInterrupt as interrupt:
        template.env.error(LiquidSyntaxError(f"unexpected '{interrupt}'", token=token))
    except StopRender:
        pass
    except LiquidError as error:
        template.env.error(error, token=token)
    return buffer.pieces
