"""A mail for people: decoded headers, the text part, the HTML part as text, and the attachments.

A mail is hostile input: control characters, such as those of escape sequences, are removed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import cast

from senders.content.headers import one_line

_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BLANKS = re.compile(r"[ \t\n\r]+")
_SPARE_LINES = re.compile(r"\n{3,}")
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})
_UNREAD = frozenset({"head", "script", "style", "title", "template"})
_LINES = frozenset({"div", "dd", "dt", "li", "tr", "hr", "section", "header", "footer"})
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote", "pre"})


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is neither the text nor the HTML; `size` is in bytes."""

    name: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class MailView:
    """The visible content of a mail. `text` and `html` are None if it has no such part."""

    headers: list[tuple[str, str]]
    text: str | None
    html: str | None
    attachments: list[Attachment]

    def header(self, name: str) -> str:
        """The first header with this name; empty if there is none."""
        return next((value for each, value in self.headers if each.lower() == name.lower()), "")

    @property
    def reading(self) -> "HtmlText":
        """The HTML part as text."""
        return read_html(self.html or "")


@dataclass(frozen=True, slots=True)
class HtmlText:
    """HTML as text. `hidden` is its hidden text: the line that mail programs show beside the subject."""

    text: str
    hidden: str


def view(raw: bytes) -> MailView:
    """Parses a mail. What cannot be decoded stays as it is."""
    message = message_from_bytes(raw, policy=policy.default)
    raw_headers = message_from_bytes(raw).raw_items()
    text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    rest = [part for part in message.walk() if not part.is_multipart() and part not in (text, html)]
    return MailView(
        headers=[(one_line(name), _decoded(str(value))) for name, value in raw_headers],
        text=None if text is None else _content(cast(EmailMessage, text)),
        html=None if html is None else _content(cast(EmailMessage, html)),
        attachments=[_attachment(part) for part in rest],
    )


def _decoded(value: str) -> str:
    unfolded = "".join(value.splitlines())
    try:
        return one_line(str(make_header(decode_header(unfolded))))
    except (LookupError, UnicodeError, HeaderParseError):  # an unknown charset, or bytes that do not fit it
        return one_line(unfolded.encode("ascii", "backslashreplace").decode())


def _content(part: EmailMessage) -> str:
    try:
        found = str(part.get_content())
    except LookupError:  # an unknown charset
        found = cast(bytes, part.get_payload(decode=True)).decode("ascii", "backslashreplace")
    return shown(found.replace("\r\n", "\n"))


def shown(text: str) -> str:
    """The text without control characters."""
    return _UNSHOWN.sub("", text)


def _attachment(part: EmailMessage) -> Attachment:
    content = cast(bytes | None, part.get_payload(decode=True)) or b""
    return Attachment(one_line(part.get_filename() or "without a name"), part.get_content_type(), len(content))


def read_html(html: str) -> HtmlText:
    """The HTML as text: lines, links with their targets, pictures by their alternative text."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return HtmlText(_tidy(reader.seen), _tidy(reader.hidden))


def _tidy(pieces: list[str]) -> str:
    lines = (line.strip() for line in "".join(pieces).split("\n"))
    return _SPARE_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


class _Reader(HTMLParser):
    """Collects text. `_open` holds the open elements, each with the list that takes its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []
        self.hidden: list[str] = []
        self._open: list[tuple[str, list[str] | None]] = []
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in _VOID:
            self._open.append((tag, self._goes_to(tag, given)))
        self._part(tag)
        if tag == "li":
            self._add("- ")
        elif tag == "img":
            self._add(f"[{_BLANKS.sub(' ', given.get('alt', '')).strip() or 'picture'}]")
        elif tag == "a":
            self._links.append((given.get("href", ""), len(self._target() or ())))

    def _goes_to(self, tag: str, given: dict[str, str]) -> list[str] | None:
        if tag in _UNREAD:
            return None
        if _HIDDEN.search(given.get("style", "")) or "hidden" in given:
            return self.hidden
        return self._target()

    def _target(self) -> list[str] | None:
        return self._open[-1][1] if self._open else self.seen

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._links:
            self._close_link(*self._links.pop())
        if tag in (name for name, _ in self._open):
            self._part(tag)
            while self._open.pop()[0] != tag:
                pass
        if tag in ("td", "th"):
            self._add("  ")

    def _close_link(self, address: str, since: int) -> None:
        target = self._target()
        text = "".join(target[since:]).strip() if target is not None else ""
        if address and address not in (text, f"mailto:{text}"):
            self._add(f" ({_BLANKS.sub('', address)})")

    def handle_data(self, data: str) -> None:
        inside_pre = any(name == "pre" for name, _ in self._open)
        self._add(data if inside_pre else _BLANKS.sub(" ", data))

    def _part(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._begin_line("\n\n")
        elif tag in _LINES:
            self._begin_line("\n")
        if tag == "br":
            self._add("\n")

    def _begin_line(self, wanted: str) -> None:
        target = self._target()
        ended = "".join(target[-3:]).rstrip(" ") if target else "\n\n"
        if not ended.endswith(wanted):
            self._add("\n" if ended.endswith("\n") else wanted)

    def _add(self, text: str) -> None:
        target = self._target()
        if target is not None:
            target.append(text)


def lines(mail: MailView) -> Iterator[str]:
    """The mail for a terminal, line by line."""
    for name in ("From", "To", "Cc", "Reply-To", "Subject", "Date"):
        if value := mail.header(name):
            yield f"{name + ':':<11}{value}"
    if mail.html is not None and mail.reading.hidden:
        yield f"{'Preheader:':<11}{mail.reading.hidden}"
    for attachment in mail.attachments:
        yield f"{'Attached:':<11}{attachment.name} ({attachment.media_type}, {attachment.size:,} bytes)"
    if mail.text is not None:
        yield from ("", "── text ──", *mail.text.rstrip("\n").split("\n"))
    if mail.html is not None:
        yield from ("", "── HTML ──", *mail.reading.text.split("\n"))
