"""Finds the links of a template once, when it is compiled, and rewrites them in each mail that tracks clicks.

In the HTML part a link is the `href` of `<a>`, `<area>` or an Outlook shape (`<v:roundrect>`); in the text part, what
begins with `http://` or `https://` in the template's own text. Outputs may stand in it. What is not an address of http
or https in a mail stays as it is written, as does a link to our own pages, and one whose tag says `data-track="off"`.
"""

import html
import re
from collections.abc import Iterator, Sequence
from typing import TextIO

from liquid import BoundTemplate, RenderContext
from liquid.ast import BlockNode, Node
from liquid.token import TOKEN_EOF, Token

from senders.content.links import MailLinks, is_target, link_id
from senders.content.rendering import LONGEST_OUTPUT, PieceBuffer, StaticNode

LINKS = "links of this rendering"
"""The name under which a rendering is given the links of its mail. No template can write it."""
_HOLE = "\0"
"""Stands for what is not the template's own text, which cannot contain it."""
_TAG = re.compile(r"""<(?:a|area|v:\w+)(?=\s)(?:[^<>"']|"[^"]*"|'[^']*')*>""", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\s([\w:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>=`]+))""")
_IN_TEXT = re.compile(r"""https?://[^\s<>"']+""", re.IGNORECASE)
_AFTER_LINK = ".,;:!?)]}*_"
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")
_TRACK = "data-track"
_NO_TOKEN = Token(TOKEN_EOF, "", 0, "")
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)


class _LinkNode(Node):
    """The address of one link: text, outputs, blocks."""

    __slots__ = ("_as_html", "_id", "_nodes", "_url")

    def __init__(self, nodes: list[Node], *, as_html: bool) -> None:
        super().__init__(nodes[0].token)
        self.blank = False
        self._nodes = nodes
        self._as_html = as_html
        static = all(isinstance(node, StaticNode) for node in nodes)
        self._url = self._address("".join(map(str, nodes))) if static else None
        """The address, if it is the same in each mail."""
        self._id = b"" if self._url is None else link_id(self._url)

    @property
    def is_link(self) -> bool:
        """Whether a mail may lead to another address by it."""
        return self._url is not None or not all(isinstance(node, StaticNode) for node in self._nodes)

    def __str__(self) -> str:
        return "".join(map(str, self._nodes))

    def children(self, static_context: RenderContext, *, include_partials: bool = True) -> list[Node]:
        """The nodes, for analysis."""
        del static_context, include_partials
        return self._nodes

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Write the address of the click, or the link's own."""
        links = _links(context)
        if links is None or not links.clicks:
            return sum(node.render(context, buffer) for node in self._nodes)
        if self._url is not None:
            return self._write(links, str(self), self._url, self._id, buffer)
        own = PieceBuffer(LONGEST_OUTPUT)
        for node in self._nodes:
            node.render(context, own)
        written = "".join(own.pieces)
        url = self._address(written)
        return buffer.write(written) if url is None else self._write(links, written, url, link_id(url), buffer)

    def _write(self, links: MailLinks, written: str, url: str, link: bytes, buffer: TextIO) -> int:
        if links.pages.is_own(url):
            return buffer.write(written)
        return buffer.write(links.pages.clicks) + buffer.write(links.click_token(link, url))

    def _address(self, written: str) -> str | None:
        """The address of an attribute value; None if a click may not lead there."""
        url = written
        if self._as_html:
            url = (_REFERENCE.sub(_character, written) if "&" in written else written).strip()
        return url if is_target(url) else None


def _character(reference: re.Match[str]) -> str:
    return html.unescape(reference[0])


class _MarkupNode(Node):
    """What an HTML part ends with: the pixel and the hidden link."""

    def __str__(self) -> str:
        return ""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Write what the mail has of it."""
        links = _links(context)
        return 0 if links is None else sum(map(buffer.write, links.markup()))


def _links(context: RenderContext) -> MailLinks | None:
    links = context.globals.get(LINKS)
    assert links is None or isinstance(links, MailLinks), "no template can write this name"
    return links


def track_links(template: BoundTemplate, *, as_html: bool) -> None:
    """Find the links of a body, in its blocks too. Without the links of a mail it renders as before."""
    context = RenderContext(template)
    waiting = list(template.nodes)
    while waiting:
        node = waiting.pop()
        waiting.extend(node.children(context, include_partials=False))
        if isinstance(node, BlockNode):
            node.nodes = _with_links(node.nodes, as_html=as_html)
    template.nodes = _with_links(template.nodes, as_html=as_html)
    if as_html:
        template.nodes = _with_markup(template.nodes)


def _with_links(nodes: list[Node], *, as_html: bool) -> list[Node]:
    """The nodes, those of each link as one."""
    text = _text_of(nodes)
    found: list[Node] = []
    done = 0
    for start, end in _places_in_html(text) if as_html else _places_in_text(text):
        link = _LinkNode(_between(nodes, start, end), as_html=as_html)
        if link.is_link:
            found += [*_between(nodes, done, start), link]
            done = end
    return [*found, *_between(nodes, done, len(text))] if found else nodes


def _text_of(nodes: Sequence[Node]) -> str:
    return "".join(node.text if isinstance(node, StaticNode) else _HOLE for node in nodes)


def _between(nodes: Sequence[Node], start: int, end: int) -> list[Node]:
    """The nodes of a part of their text. A text that is only partly in it is cut."""
    found: list[Node] = []
    at = 0
    for node in nodes:
        length = len(node.text) if isinstance(node, StaticNode) else 1
        first, last = max(start, at), min(end, at + length)
        if first < last and isinstance(node, StaticNode) and last - first < length:
            found.append(StaticNode(node.token, node.text[first - at : last - at]))
        elif first < last:
            found.append(node)
        at += length
    return found


def _places_in_html(text: str) -> Iterator[tuple[int, int]]:
    """Where the addresses of links begin and end."""
    for tag in _TAG.finditer(text):
        attributes = {each[1].lower(): each for each in _ATTRIBUTE.finditer(text, tag.start(), tag.end())}
        href, track = attributes.get("href"), attributes.get(_TRACK)
        if href is not None and (track is None or _value(track) != "off"):
            start, end = href.span(href.lastindex or 0)
            if start < end:
                yield start, end


def _value(attribute: re.Match[str]) -> str:
    return attribute[attribute.lastindex or 0].lower()


def _places_in_text(text: str) -> Iterator[tuple[int, int]]:
    for found in _IN_TEXT.finditer(text):
        yield found.start(), found.start() + len(found[0].rstrip(_AFTER_LINK))


def _with_markup(nodes: list[Node]) -> list[Node]:
    """The nodes with the place of the pixel: before the end of the body, or at the end."""
    text = _text_of(nodes)
    ends = [found.start() for found in _BODY_END.finditer(text)]
    at = ends[-1] if ends else len(text)
    before, after = _between(nodes, 0, at), _between(nodes, at, len(text))
    token = nodes[-1].token if nodes else _NO_TOKEN
    return [*before, _MarkupNode(token), *after]
