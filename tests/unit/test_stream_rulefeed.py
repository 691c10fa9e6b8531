"""What a worker knows of the rules, record by record."""

from datetime import UTC, datetime

import pytest

from schemas.codec import DecodeError, encode
from schemas.rules import CURRENT, Control, Manifest, Text, text_hash, text_key
from streams.rulefeed import Shelf
from triggers.diagnostics import InvalidRules

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULE = """
trigger: hello
purpose: transactional
on: signed_up
send: hello
"""


def text(body: str, kind: str = "rule", path: str = "hello.yaml") -> tuple[str, bytes]:
    return text_key(text_hash(body)), encode(Text(kind=kind, path=path, body=body))


def manifest(number: int, *bodies: str) -> bytes:
    return encode(Manifest(number=number, texts=[text_hash(body) for body in bodies], applied_at=NOW))


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf()
    shelf.put("rules", *text(RULE))
    shelf.put("rules", *text("template", "template", "templates/hello.liquid"))
    return shelf


def test_nothing_is_current_before_a_manifest(shelf):
    assert shelf.load() is None


def test_a_manifest_makes_its_texts_current_and_templates_are_known_by_their_file_name(shelf):
    shelf.put("rules", CURRENT, manifest(1, RULE, "template"))
    published = shelf.load()
    assert published.manifest == 1
    assert list(published.rules.triggers) == ["hello"]


def test_a_manifest_waits_for_the_texts_it_names(shelf):
    other = RULE.replace("hello", "other", 1)
    shelf.put("rules", CURRENT, manifest(1, RULE, "template", other))
    assert shelf.load() is None
    shelf.put("rules", *text(other, path="other.yaml"))
    assert sorted(shelf.load().rules.triggers) == ["hello", "other"]


def test_an_older_manifest_never_replaces_a_newer_one(shelf):
    shelf.put("rules", CURRENT, manifest(2, RULE, "template"))
    shelf.put("rules", CURRENT, manifest(1))
    assert shelf.load().manifest == 2


def test_a_set_that_does_not_load_says_so(shelf):
    broken = "trigger: hello\nsend: hello\n"
    shelf.put("rules", *text(broken))
    shelf.put("rules", CURRENT, manifest(1, broken, "template"))
    with pytest.raises(InvalidRules):
        shelf.load()


def test_a_paused_scope_is_paused_until_a_newer_switch_lifts_it(shelf):
    def switch(number: int, paused: bool) -> bytes:
        return encode(Control(number=number, scope="trigger/hello", paused=paused, at=NOW))

    shelf.put("control", "trigger/hello", switch(1, True))
    assert shelf.paused() == {"trigger/hello"}
    shelf.put("control", "trigger/hello", switch(3, False))
    shelf.put("control", "trigger/hello", switch(2, True))
    assert shelf.paused() == frozenset()


def test_a_record_that_is_no_manifest_changes_nothing(shelf):
    shelf.put("rules", CURRENT, manifest(1, RULE, "template"))
    with pytest.raises(DecodeError):
        shelf.put("rules", CURRENT, b"{broken")
    assert shelf.load().manifest == 1
