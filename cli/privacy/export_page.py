"""An export as one HTML page, which needs nothing beside it and may run nothing: what it shows is hostile input."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from cli.privacy.export import SECTIONS, PersonExport, plain

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "person.css").read_text(encoding="utf-8")
_NAMED_BY = ("type", "kind", "trigger", "outcome", "state", "reason", "scope", "purpose", "place")
_DATED_BY = ("time", "appended_at", "recorded_at", "admitted_at", "at", "since", "made_at", "began_at")


def page(export: PersonExport) -> str:
    """The page."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return _template().render(
        style=Markup(_STYLE),  # noqa: S704  # a file of ours
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        user_id=export.user_id,
        exported_at=export.exported_at,
        is_empty=export.is_empty,
        sections=[
            {"name": name, "title": title, "about": about, "places": _places(export.sections[name])}
            for name, (title, about) in SECTIONS.items()
        ],
    )


def _places(places: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each place with its entries: one, or a list of which each has a line of its own."""
    found = []
    for place, content in places.items():
        value = plain(content)
        entries = value if isinstance(value, list) else None
        lines = [] if entries is None else [{"line": headline(each), "value": each} for each in entries]
        found.append({"name": place, "value": value, "entries": entries, "lines": lines})
    return found


def headline(entry: Any) -> str:
    """When and what, in one line, of an entry or of the record in it."""
    if not isinstance(entry, dict):
        return str(entry)
    inner = entry["record"] if isinstance(entry.get("record"), dict) else {}
    known = {**entry, **inner}
    when = next((str(known[name]) for name in _DATED_BY if known.get(name)), "")
    what = [str(known[name]) for name in _NAMED_BY if known.get(name)]
    return " · ".join([when.replace("T", " ")[:19], *dict.fromkeys(what)]).strip(" ·") or "entry"


@cache
def _template() -> Template:
    loader = FileSystemLoader(_FOLDER)
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("person.html")
