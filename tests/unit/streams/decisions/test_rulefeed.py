"""What a worker knows of the rules, record by record."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from schemas.codec import DecodeError, encode
from schemas.rules import CURRENT, Control, Manifest, SetFile, Text, text_hash, text_key
from schemas.switches import OlderNumber
from streams.decisions.rulefeed import RuleStore
from triggers.language.diagnostics import InvalidRules

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
def shelf() -> RuleStore:
    shelf = RuleStore()
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


def test_two_templates_with_one_text_stay_two_if_the_manifest_names_its_files(shelf):
    both = RULE + "---\n" + RULE.replace("hello", "bye")
    shelf.put("rules", *text(both))
    shelf.put("rules", *text("template", "template", "templates/bye.liquid"))
    named = [("rule", "r.yaml", both), *(("template", f"t/{name}.liquid", "template") for name in ("hello", "bye"))]
    files = [SetFile(kind=kind, path=path, text=text_hash(body), since=1, at=NOW) for kind, path, body in named]
    texts = [text_hash(both), text_hash("template")]
    shelf.put("rules", CURRENT, encode(Manifest(number=1, texts=texts, applied_at=NOW, files=files)))
    assert sorted(shelf.load().rules.triggers) == ["bye", "hello"]


def test_a_manifest_waits_for_the_texts_it_names(shelf):
    other = RULE.replace("hello", "other", 1)
    shelf.put("rules", CURRENT, manifest(1, RULE, "template", other))
    assert shelf.load() is None
    shelf.put("rules", *text(other, path="other.yaml"))
    assert sorted(shelf.load().rules.triggers) == ["hello", "other"]


def test_a_replaced_text_stays_available_to_occurrences_that_began_with_it(shelf):
    changed = RULE.replace("send: hello", "send: bye")
    shelf.put("rules", *text(changed))
    shelf.put("rules", *text("other", "template", "templates/bye.liquid"))
    pinned = {text_hash(RULE): NOW, text_hash("template"): NOW, "lost": NOW}
    named = [text_hash(changed), text_hash("other")]
    shelf.put("rules", CURRENT, encode(Manifest(number=2, texts=named, applied_at=NOW, pinned=pinned)))
    rules = shelf.load().rules
    [kept] = rules.kept.values()
    assert (kept.rule_hash, kept.steps[0].template_hash) == (text_hash(RULE), text_hash("template"))
    assert rules.triggers["hello"].steps[0].template == "bye"


def test_a_replaced_text_of_a_brand_keeps_the_template_of_the_brands_folder(shelf):
    """Though a template of the same name lies outside of it."""
    brand = "brand: shop\nfrom: mail@shop.example\ntemplates: shop\n---\n"
    old = brand + RULE.replace("purpose", "brand: shop\npurpose")
    now = old.replace("on: signed_up", "on: signed_up\nafter: 1h")
    for each in (text(old, path="r.yaml"), text(now, path="r.yaml"), text("shop's", "template", "t/shop/hello.liquid")):
        shelf.put("rules", *each)
    pinned = {text_hash(old): NOW, text_hash("shop's"): NOW}
    named = [text_hash(now), text_hash("template")]
    shelf.put("rules", CURRENT, encode(Manifest(number=2, texts=named, applied_at=NOW, pinned=pinned)))
    rules = shelf.load().rules
    [kept] = rules.kept.values()
    assert (kept.steps[0].template, kept.steps[0].template_hash) == ("shop/hello", text_hash("shop's"))
    assert rules.triggers["hello"].steps[-1].template_hash == text_hash("template")


def test_an_older_manifest_never_replaces_a_newer_one(shelf):
    shelf.put("rules", CURRENT, manifest(2, RULE, "template"))
    for older in (manifest(1), manifest(2)):
        with pytest.raises(OlderNumber, match="is not above 2"):
            shelf.put("rules", CURRENT, older)
    assert shelf.load().manifest == 2


def test_a_set_that_does_not_load_is_reported_once_and_the_earlier_set_stays_under_newer_switches(shelf):
    shelf.put("rules", CURRENT, manifest(1, RULE, "template"))
    before = shelf.load()
    broken = "trigger: hello\nsend: hello\n"
    shelf.put("rules", *text(broken))
    shelf.put("rules", CURRENT, manifest(2, broken, "template"))
    shelf.put("control", "global", switch(1, "global", True))
    with pytest.raises(InvalidRules):
        shelf.load()
    assert shelf.load() == replace(before, control=1, paused=frozenset({"global"}))


def test_a_switch_does_not_load_the_rules_again(shelf):
    shelf.put("rules", CURRENT, manifest(1, RULE, "template"))
    before = shelf.load()
    shelf.put("control", "global", switch(1, "global", True))
    assert shelf.load().rules is before.rules


def switch(number: int, scope: str, paused: bool) -> bytes:
    return encode(Control(number=number, scope=scope, paused=paused, at=NOW))


def test_a_paused_scope_is_paused_until_a_newer_switch_lifts_it(shelf):
    shelf.put("control", "trigger/hello", switch(1, "trigger/hello", True))
    assert (shelf.switches.paused(), shelf.switches.number) == ({"trigger/hello"}, 1)
    shelf.put("control", "trigger/hello", switch(3, "trigger/hello", False))
    assert (shelf.switches.paused(), shelf.switches.number) == (frozenset(), 3)


def test_numbers_rise_over_all_scopes_and_an_older_switch_is_refused(shelf):
    shelf.put("control", "global", switch(5, "global", True))
    with pytest.raises(OlderNumber, match="control 5 is not above 5; trigger/hello does not change"):
        shelf.put("control", "trigger/hello", switch(5, "trigger/hello", True))
    with pytest.raises(OlderNumber):
        shelf.put("control", "global", switch(4, "global", False))
    shelf.put("control", "global", switch(5, "global", True))  # read again: nothing new
    assert (shelf.switches.paused(), shelf.switches.number) == ({"global"}, 5)


@pytest.mark.parametrize(
    ("topic", "key", "value"),
    [
        ("rules", CURRENT, b"{broken"),
        ("rules", CURRENT, None),
        ("control", "global", b"[]"),
        ("control", "global", None),
    ],
)
def test_a_record_that_is_neither_manifest_nor_switch_changes_nothing(shelf, topic, key, value):
    shelf.put("rules", CURRENT, manifest(1, RULE, "template"))
    shelf.put("control", "global", switch(2, "global", True))
    before = shelf.load()
    with pytest.raises(DecodeError):
        shelf.put(topic, key, value)
    assert shelf.load() == before
