"""The page of an export shows everything, and what strangers wrote in it can do nothing."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

from cli.privacy.export import SECTIONS, PersonExport
from cli.privacy.export_page import headline, page

NOW = datetime(2026, 11, 29, 14, 0, tzinfo=UTC)
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def exported(user_id: str = "u1", **sections: Any) -> PersonExport:
    return PersonExport(user_id, NOW, {name: sections.get(name, {}) for name in SECTIONS})


class Elements(HTMLParser):
    """The names of a page's elements, and the attributes that load or run something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.active: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.active += [(name, value) for name, value in attrs if name.startswith("on") or name in ("src", "action")]


def test_what_strangers_wrote_is_text() -> None:
    record = {"place": "events[0]@1", "record": {"type": HOSTILE, "properties": {HOSTILE: [HOSTILE, None, True, 1.5]}}}
    html = page(exported(HOSTILE, events={HOSTILE: [record]}, profile={"profile store": {"address": HOSTILE}}))
    found = Elements(html)
    assert found.names.isdisjoint({"script", "img", "iframe", "form", "link", "object"})
    assert found.active == []
    assert "alert(1)" in html
    assert "default-src &#39;none&#39;" in html


def test_the_page_needs_nothing_beside_it() -> None:
    html = page(exported(events={"topic events": [{"record": {"type": "viewed"}}]}))
    assert re.findall(r'(?:href|src)="(?!#)', html) == []


def test_each_section_is_there_also_when_it_is_empty() -> None:
    html = page(exported())
    for name, (title, about) in SECTIONS.items():
        assert f'<h2 id="{name}-title">{title}</h2>\n<p class="about">{about}</p>' in html
    assert html.count("Nothing is stored.") == len(SECTIONS)
    assert "Nothing is stored about this person." in html


def test_a_place_says_how_many_entries_it_has() -> None:
    event = {"record": {"type": "viewed"}}
    html = page(exported(events={"topic events": [event], "table visitor_events": [event, event]}))
    assert "<h3>topic events: 1 entry</h3>" in html
    assert "<h3>table visitor_events: 2 entries</h3>" in html


def test_an_entry_is_headed_by_when_and_what() -> None:
    event = {"place": "events[0]@1", "appended_at": "2026-11-29T13:00:00+00:00", "record": {"type": "cart_left"}}
    assert headline(event) == "2026-11-29 13:00:00 · cart_left · events[0]@1"
    assert headline({"unknown": 1}) == "entry"


def test_bytes_and_times_are_written_as_text() -> None:
    rows = [{"address_hash": b"\x01\xff", "since": NOW, "command": b'{"id": "c"}'}]
    values = exported(suppressions={"table suppressions": rows}).values()
    assert values["suppressions"]["table suppressions"] == [
        {"address_hash": "01ff", "since": "2026-11-29T14:00:00+00:00", "command": {"id": "c"}}
    ]
