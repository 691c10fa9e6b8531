"""Liquid templates: one file becomes a subject, an HTML part and a text part, under limits on what it may cost.

A template is front matter between two lines `---`, the HTML part, a line `--- text ---`, and the text part. Names in
it: the command's `data` at top level, and `user`.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from liquid import BoundTemplate, Environment, FalsyStrictUndefined
from liquid.exceptions import LiquidError, ResourceLimitError, UndefinedError
from liquid.extra.filters.babel import Currency

from schemas.vocabulary import DeliveryReason
from senders.headers import HeaderError, one_line
from senders.message import Sender

_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?\n", re.DOTALL | re.MULTILINE)
_TEXT = re.compile(r"^--- text ---[ \t]*(?:\r?\n|\Z)", re.MULTILINE)
_NAMED = re.compile(r"'?([A-Za-z_][\w.-]*)'? is undefined")
_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_PREHEADER = '<div style="display:none;max-height:0;overflow:hidden">{}</div>'


class TemplateError(ValueError):
    """A template cannot be used, or cannot be rendered with this data; `detail` never holds a user's data.

    `index` is where in the template's text it shows, as far as that is known.
    """

    def __init__(self, reason: DeliveryReason, detail: str, index: int = 0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.index = index
        self.detail = "".join(letter if letter.isprintable() else "?" for letter in detail[:200])


class _Limited(Environment):
    """Bounds what one rendering may take; a newsletter needs a hundredth of each."""

    loop_iteration_limit = 10_000
    output_stream_limit = 500_000
    local_namespace_limit = 100_000
    context_depth_limit = 20


_PLAIN = _Limited(undefined=FalsyStrictUndefined)
_HTML = _Limited(undefined=FalsyStrictUndefined, autoescape=True)
for _environment in (_PLAIN, _HTML):
    # US dollars and English unless a template assigns `currency_code` and `locale` first.
    _environment.add_filter("currency", Currency())


@dataclass(frozen=True, slots=True)
class Content:
    """What one rendering gave."""

    sender: Sender | None
    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template."""

    sender: Sender | None
    subject: "_Compiled"
    preheader: "_Compiled | None"
    html: "_Compiled"
    text: "_Compiled"

    def render(self, data: dict[str, Any], user: dict[str, Any]) -> Content:
        """The content for one user; raises TemplateError with the place, naming the variable where one is missing."""
        names = {**data, "user": user}
        html = self.html.render(names)
        if self.preheader is not None:
            html = _with_preheader(html, self.preheader.render(names))
        subject = one_line(self.subject.render(names))
        if not subject:
            raise TemplateError(DeliveryReason.HEADER, "Subject: blank with this data", self.subject.offset)
        return Content(self.sender, subject, html, self.text.render(names))


class _Compiled(NamedTuple):
    """One part of a template, and where it begins in the template's text."""

    part: BoundTemplate
    offset: int

    def render(self, names: dict[str, Any]) -> str:
        """The part with these names; raises TemplateError with the place of what fails."""
        try:
            return self.part.render(names)
        except UndefinedError as error:
            message = _first_line(error)
            named = _NAMED.search(message)
            detail = named.group(1) if named else message
            raise TemplateError(DeliveryReason.UNDEFINED, detail, self._place(error)) from None
        except (ResourceLimitError, RecursionError) as error:
            raise TemplateError(DeliveryReason.RENDER_LIMIT, type(error).__name__, self._place(error)) from None
        except (LiquidError, ArithmeticError, ValueError, TypeError) as error:
            # A filter met a value it cannot take. The message may quote that value, so only the error's kind is kept.
            raise TemplateError(DeliveryReason.TEMPLATE_INVALID, type(error).__name__, self._place(error)) from None

    def _place(self, error: Exception) -> int:
        token = error.token if isinstance(error, LiquidError) else None
        return self.offset + max(0, token.start_index if token else 0)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a template as written: its source, and where that begins in the template's text."""

    name: str
    source: str
    offset: int

    def compiled(self) -> BoundTemplate:
        """The part, ready to be rendered; raises TemplateError with the place of the fault."""
        environment = _HTML if self.name in ("preheader", "HTML part") else _PLAIN
        try:
            return environment.from_string(self.source)
        except LiquidError as error:
            at = error.token.start_index if error.token else 0
            at = at if at >= 0 else len(self.source)
            detail = f"{self.name}: {_first_line(error)}"
            raise TemplateError(DeliveryReason.TEMPLATE_INVALID, detail, self.offset + at) from None


def parse_template(name: str, body: str) -> Template:
    """The template in the file `templates/NAME.liquid`, whose text is `body`; raises TemplateError with the fault."""
    try:
        return _parse(body)
    except TemplateError as error:
        raise TemplateError(error.reason, f"{name}: {error.detail}", error.index) from None


def _parse(body: str) -> Template:
    fields, parts = split_template(body)
    compiled = {part.name: _Compiled(part.compiled(), part.offset) for part in parts}
    return Template(
        sender=_sender(fields.get("from")),
        subject=compiled["subject"],
        preheader=compiled.get("preheader"),
        html=compiled["HTML part"],
        text=compiled["text part"],
    )


def split_template(body: str) -> tuple[dict[str, str], list[Part]]:
    """The front matter and the parts that are rendered; raises TemplateError where they are not there."""
    front = _FRONT.match(body)
    if front is None:
        raise TemplateError(DeliveryReason.TEMPLATE_INVALID, "no front matter between two lines `---`")
    html, found, text = _split_text(body[front.end() :])
    if not found:
        raise TemplateError(DeliveryReason.TEMPLATE_INVALID, "no line `--- text ---` before the text part", len(body))
    fields = _front_matter(front.group(1))
    heads = [name for name in ("subject", "preheader") if name in fields]
    parts = [Part(name, fields[name], max(0, body.find(fields[name]))) for name in heads]
    parts.append(Part("HTML part", html, front.end()))
    return fields, [*parts, Part("text part", text, len(body) - len(text))]


def _with_preheader(html: str, preheader: str) -> str:
    """The HTML with the line that mail programs show beside the subject, first in its body and not to be seen there."""
    body = _BODY.search(html)
    at = body.end() if body else 0
    return html[:at] + _PREHEADER.format(preheader) + html[at:]


def _split_text(rest: str) -> tuple[str, bool, str]:
    mark = _TEXT.search(rest)
    return (rest, False, "") if mark is None else (rest[: mark.start()], True, rest[mark.end() :])


def _front_matter(text: str) -> dict[str, str]:
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError:
        hint = "front matter: not YAML; a value that holds `: ` or `{{` first needs quotes"
        raise TemplateError(DeliveryReason.TEMPLATE_INVALID, hint) from None
    if not isinstance(fields, dict) or not isinstance(fields.get("subject"), str):
        raise TemplateError(DeliveryReason.TEMPLATE_INVALID, "front matter: `subject` is required, as text")
    if wrong := [key for key, value in fields.items() if not isinstance(value, str)]:
        raise TemplateError(DeliveryReason.TEMPLATE_INVALID, f"front matter: {wrong[0]} is not text")
    return fields


def _sender(text: str | None) -> Sender | None:
    try:
        return None if text is None else Sender.parse(text)
    except HeaderError as error:
        raise TemplateError(DeliveryReason.TEMPLATE_INVALID, f"front matter: {error}") from None


def _first_line(error: LiquidError) -> str:
    return str(error.args[0] if error.args else type(error).__name__).split("\n", 1)[0]
