"""Makes the answers: a template with its texts, and the headers that every page has.

The one style stands in the page and is allowed by its hash; nothing else may be loaded, run, framed or sent elsewhere.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from web.recipients.pages.texts import Texts

_FOLDER = Path(__file__).parent.parent / "templates"
STYLE = (_FOLDER / "style.css").read_text(encoding="utf-8")


def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _policy(),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}
"""A link in a mail is a secret of its reader: no cache keeps it, no other site is told of it, no search engine."""
RETRY_AFTER_S = 30


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["style"] = Markup(STYLE)  # noqa: S704  # a file of ours
    return found


def page(template: str, texts: Texts, status: int = 200, **context: object) -> Response:
    """A page in this language."""
    body = _environment().get_template(template).render(texts=texts, say=texts.say, **context)
    extra = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    return HTMLResponse(body, status, {**HEADERS, **extra, "Content-Language": texts.code})


def see_other(path: str) -> Response:
    """After a POST: the page to look at now. Loading that one again changes nothing."""
    return RedirectResponse(path, 303, HEADERS)
