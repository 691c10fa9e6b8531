"""Templates: one file gives subject, sender, HTML part and text part, within limits on what rendering may cost.

A template is front matter between two lines `---`, the HTML part, a line `--- text ---`, and the text part. It can use
the command's `data` at top level, and `user`. Null and blank values count as missing (`senders.content.blanks`).
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from liquid import BoundTemplate
from liquid.exceptions import LiquidError, ResourceLimitError, UndefinedError
from liquid.static_analysis import TemplateAnalysis

from schemas.errors import UserError
from schemas.vocabulary import DeliveryReason
from senders.content import front_matter
from senders.content.blanks import is_blank, without_blanks
from senders.content.filters.dates import NOW
from senders.content.front_matter import MAILBOXES, FrontMatter
from senders.content.headers import HeaderError, one_line
from senders.content.links import MailLinks
from senders.content.liquid_dialect import compile_part
from senders.content.message import Mailbox
from senders.content.quoted_printable import StaticText
from senders.content.rendering import LONGEST_OUTPUT, ControlCharacter, rendered_pieces
from senders.content.tracked_links import LINKS

_TEXT = re.compile(r"^--- text ---[ \t]*(?:\r?\n|\Z)", re.MULTILINE)
_NAMED = re.compile(r"'?([A-Za-z_][\w.\-\[\]]*)'? is undefined")
_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_PREHEADER = '<div style="display:none;max-height:0;overflow:hidden">{}</div>'
_AS_HTML = frozenset({"preheader", "HTML part"})
NO_PAGES: Mapping[str, str] = {}
_BODIES = frozenset({"HTML part", "text part"})


class TemplateError(UserError, ValueError):
    """A template is wrong, or cannot be rendered with this data. `detail` never holds a user's data.

    `index` is the place in the template's text, as far as that is known.
    """

    def __init__(self, reason: DeliveryReason, detail: str, index: int = 0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.index = index
        self.detail = "".join(character if character.isprintable() else "?" for character in detail[:200])


@dataclass(frozen=True, slots=True)
class Content:
    """The result of one rendering."""

    sender: Mailbox | None
    reply_to: Mailbox | None
    subject: str
    html_pieces: Sequence[str]
    text_pieces: Sequence[str]

    @property
    def html(self) -> str:
        """The HTML part."""
        return "".join(self.html_pieces)

    @property
    def text(self) -> str:
        """The text part."""
        return "".join(self.text_pieces)


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: its parts by name, and what it says of tracking, if anything."""

    parts: "Mapping[str, _CompiledPart]"
    track: frozenset[str] | None = None

    def render(
        self,
        data: dict[str, Any],
        user: dict[str, Any],
        now: datetime,
        pages: Mapping[str, str] = NO_PAGES,
        links: MailLinks | None = None,
    ) -> Content:
        """The content for one user at `now`; raises TemplateError with its place, and the name of a missing variable.

        The sender and the address for replies are those of the front matter, None if it has none. `pages` are the
        variables with the addresses of the recipient's pages. With `links`, the links of the bodies are rewritten.
        """
        given = {"now": now, "today": now.date(), **pages, **data, "user": user}
        try:
            names = without_blanks(given) | {NOW: now, LINKS: links}
        except RecursionError:
            raise TemplateError(DeliveryReason.RENDER_LIMIT, "data nested too deeply") from None
        subject = self.parts["subject"]
        shown = one_line(subject.render(names))
        if is_blank(shown):
            raise TemplateError(DeliveryReason.HEADER, "Subject: blank with this data", subject.offset)
        sender, reply_to = (self._mailbox(key, names) for key in MAILBOXES)
        preheader = self._optional("preheader", names)
        html = self.parts["HTML part"].pieces(names)
        if preheader:
            html = _with_preheader(html, preheader)
        return Content(sender, reply_to, shown, html, self.parts["text part"].pieces(names))

    def _optional(self, name: str, names: dict[str, Any]) -> str:
        return self.parts[name].render(names).strip() if name in self.parts else ""

    def _mailbox(self, key: str, names: dict[str, Any]) -> Mailbox | None:
        if key not in self.parts:
            return None
        address = self.parts[key]
        try:
            return _mailbox_of(self._optional(f"{key} name", names), address.render(names), MAILBOXES[key])
        except HeaderError as error:
            raise TemplateError(DeliveryReason.HEADER, str(error), address.offset) from None


class _CompiledPart(NamedTuple):
    """One part of a template, and where it begins in the template's text.

    `tracked` is the same part with its links found, for mails that rewrite them: between them, less is in one run.
    """

    part: BoundTemplate
    offset: int
    tracked: BoundTemplate

    def render(self, names: dict[str, Any]) -> str:
        """The part rendered with these names; raises TemplateError with its place."""
        return "".join(self.pieces(names))

    def pieces(self, names: dict[str, Any]) -> list[str]:
        """The part rendered in pieces, those of the template itself as StaticText; raises TemplateError as `render`."""
        try:
            part = self.part if names[LINKS] is None else self.tracked
            return rendered_pieces(part, names, LONGEST_OUTPUT)
        except UndefinedError as error:
            message = _first_line(error)
            named = _NAMED.search(message)
            detail = named.group(1) if named else message
            raise TemplateError(DeliveryReason.UNDEFINED, detail, self._place(error)) from None
        except (ResourceLimitError, RecursionError) as error:
            raise TemplateError(DeliveryReason.RENDER_LIMIT, type(error).__name__, self._place(error)) from None
        except ControlCharacter as error:
            raise TemplateError(DeliveryReason.TEMPLATE_INVALID, str(error.message), self._place(error)) from None
        except (LiquidError, ArithmeticError, ValueError, TypeError) as error:
            # A filter cannot take a value. The error's message may quote that value, so only its type is kept.
            raise TemplateError(DeliveryReason.TEMPLATE_INVALID, type(error).__name__, self._place(error)) from None

    def _place(self, error: Exception) -> int:
        token = error.token if isinstance(error, LiquidError) else None
        return self.offset + max(0, token.start_index if token else 0)


@dataclass(frozen=True, slots=True)
class Part:
    """The source of one part of a template, and where it begins in the template's text."""

    name: str
    source: str
    offset: int

    @property
    def has_links(self) -> bool:
        """Whether links in it can be tracked."""
        return self.name in _BODIES

    def compiled(self, *, has_links: bool = False) -> BoundTemplate:
        """The compiled part, on request with its links found; raises TemplateError with the place of the fault."""
        try:
            return compile_part(self.source, as_html=self.name in _AS_HTML, has_links=has_links)
        except LiquidError as error:
            at = error.token.start_index if error.token else 0
            at = at if at >= 0 else len(self.source)
            raise self._fault(_first_line(error), at) from None
        except RecursionError:
            raise self._fault("nested too deeply", 0) from None

    def analysis(self) -> TemplateAnalysis:
        """What the part uses; raises TemplateError also for an unknown filter, or if it includes another template."""
        template = self.compiled(has_links=self.has_links)
        try:
            found = template.analyze()
        except LiquidError:  # only the inclusion of another template can fail here
            raise self._fault("a template cannot include another", 0) from None
        except RecursionError:
            raise self._fault("nested too deeply", 0) from None
        for filter_name, spans in found.filters.items():
            if filter_name not in template.env.filters:
                close = difflib.get_close_matches(filter_name, template.env.filters, n=1)
                hint = f"; did you mean `{close[0]}`?" if close else ""
                raise self._fault(f"there is no filter `{filter_name}`{hint}", spans[0].index)
        return found

    def _fault(self, detail: str, at: int) -> TemplateError:
        return TemplateError(DeliveryReason.TEMPLATE_INVALID, f"{self.name}: {detail}", self.offset + at)


def parse_template(name: str, body: str) -> Template:
    """The template `templates/NAME.liquid` with the text `body`; raises TemplateError with its first fault."""
    faults = template_faults(name, body)
    if faults:
        raise faults[0]
    front, parts = _split(body)
    return Template({part.name: _compiled(part) for part in parts}, front.track)


def _compiled(part: Part) -> _CompiledPart:
    plain = part.compiled()
    return _CompiledPart(plain, part.offset, part.compiled(has_links=True) if part.has_links else plain)


def template_faults(name: str, body: str) -> list[TemplateError]:
    """All faults of the template, each with its place."""
    front, parts = _split(body)
    wrong = [(fault.detail, fault.index) for fault in front.faults]
    if front.end and not any(part.name == "text part" for part in parts):
        wrong.append(("no line `--- text ---` before the text part", len(body)))
    for part in parts:
        try:
            part.analysis()
        except TemplateError as error:
            wrong.append((error.detail, error.index))
    return [TemplateError(DeliveryReason.TEMPLATE_INVALID, f"{name}: {detail}", index) for detail, index in wrong]


def template_parts(body: str) -> list[Part]:
    """The parts of a template that are rendered, beginning with those in its front matter."""
    return _split(body)[1]


def _split(body: str) -> tuple[FrontMatter, list[Part]]:
    front = front_matter.read(body)
    parts = []
    for key in front.values:
        if key in MAILBOXES:
            name, address = front.mailbox(key)
            parts += [Part(f"{key} name", name.text, name.index), Part(key, address.text, address.index)]
        else:
            parts.append(Part(key, front.values[key].text, front.values[key].index))
    mark = _TEXT.search(body, front.end)
    if front.end:
        parts.append(Part("HTML part", body[front.end : mark.start() if mark else len(body)], front.end))
    if front.end and mark:
        parts.append(Part("text part", body[mark.end() :], mark.end()))
    return front, parts


_mailbox_of = lru_cache(maxsize=1024)(Mailbox.of)
"""The mailboxes of most templates are the same in every mail."""


def _with_preheader(html: list[str], preheader: str) -> list[str]:
    """The HTML with the line that mail programs show beside the subject: hidden, at the beginning of its body."""
    body = _BODY.search("".join(html))
    at = body.end() if body else 0
    for place, piece in enumerate(html):
        if at <= len(piece):
            before, after = _halves(piece, at) if type(piece) is StaticText else (piece[:at], piece[at:])
            return [*html[:place], before, _PREHEADER.format(preheader), after, *html[place + 1 :]]
        at -= len(piece)
    return [_PREHEADER.format(preheader)]


@lru_cache(maxsize=256)
def _halves(piece: StaticText, at: int) -> tuple[StaticText, StaticText]:
    """A piece of a template in two. The place is the same for every mail, so that this is done once."""
    return StaticText(piece[:at]), StaticText(piece[at:])


def _first_line(error: LiquidError) -> str:
    return str(error.args[0] if error.args else type(error).__name__).split("\n", 1)[0]
