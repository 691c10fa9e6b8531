"""The loader, the JSON Schema and the reference page agree with the declared keys."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import pytest

from cli.pages.language_page import page
from cli.rules.rule_schema import rule_schema
from triggers.cel.conditions import Condition
from triggers.language import keys
from triggers.language.declarations import RecordShape
from triggers.language.diagnostics import SourceFile
from triggers.language.reader import written_default
from triggers.language.yaml_tree import plain_value
from triggers.loader import load_rules
from triggers.rules.rule import CapScope, Over, Overlap

RULE = "trigger: t\npurpose: p\non: {on}\nsend: {send}\n"
BEGUN = RULE.format(on="ping", send="mail")
CASE = "cases: [{name: c, given: [], expect: []KEY}]\n"
WITHOUT = {
    "trigger": BEGUN + "KEY",
    "policy": BEGUN + "---\npolicy: p\nfor: {}\nexpires: 1h\nKEY",
    "metric": BEGUN + "---\nmetric: m\nevent: ping\nwithin: 1d\nKEY",
    "EVENT": RULE.format(on="{event: pingKEY}", send="mail"),
    "LEVEL": RULE.format(on="{event: ping, within: 1d, reaches: 2KEY}", send="mail"),
    "SCHEDULE": RULE.format(on="{every: month, at: '10:00'KEY}", send="mail"),
    "DATE": RULE.format(on="{date: user.bornKEY}", send="mail"),
    "CAP": BEGUN + "cap: {max: 1, per: 1dKEY}\n",
    "DAILY": BEGUN + "quiet: {from: '21:00', to: '08:00'KEY}\n",
    "DATES": BEGUN + "quiet: {from: '2026-12-24', through: '2026-12-26'KEY}\n",
    "GOAL": BEGUN + "goal: {event: bought, within: 1dKEY}\n",
    "MESSAGE": RULE.format(on="ping", send="{template: mailKEY}"),
    "ADDITION": BEGUN + "---\nscore: s\ndecay: {curve: step, lifetime: 1d}\nadd: {event: ping, points: 1KEY}\n",
    "CASE": BEGUN + CASE,
    "endpoint": BEGUN + "---\nendpoint: e\nurl: https://e.example/\nsecrets: s\nKEY",
}
"""A file for each mapping that has a key with a default; the key goes where KEY stands."""


def defaults() -> Iterator[tuple[str, str]]:
    for name, shape in [*keys.KINDS.items(), *keys.SHAPES.items()]:
        for key in shape.keys if isinstance(shape, RecordShape) else ():
            if key.default:
                yield name, key.name


DEFAULTS = list(defaults())


def with_key(name: str, written: str) -> str:
    document = name in keys.KINDS
    key = f"{written}\n" if document and written else f", {written}" if written else ""
    return WITHOUT[name].replace("KEY", key)


def loaded(text: str) -> Any:
    rules = load_rules([SourceFile("r.yaml", text)], {"mail": "0" * 32})
    return [plain(each) for each in (rules.declared, rules.scores, rules.metrics, rules.segments, rules.policies)] + [
        endpoint.model_dump() for endpoint in rules.endpoints.values()
    ]


def plain(value: Any) -> Any:
    """What a rule does, without the hash of its text; a missing condition counts as one that is always true."""
    if isinstance(value, Condition):
        return None if value.text == "true" else value.text
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value) if each.name != "rule_hash"}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize(("name", "key"), DEFAULTS)
def test_a_rule_without_a_key_loads_as_one_with_the_declared_default(name: str, key: str) -> None:
    written = f"{key}: {keys.record(name).key(key).default}"
    assert loaded(with_key(name, "")) == loaded(with_key(name, written))


@pytest.mark.parametrize(("name", "key"), DEFAULTS)
def test_the_schema_and_the_page_say_the_declared_default(name: str, key: str) -> None:
    declared = keys.record(name).key(key)
    assert rule_schema()["$defs"][name]["properties"][key]["default"] == plain_value(written_default(declared))
    text = page("<!-- reference -->\n")
    section = re.search(rf"^###+ {name.replace('_', ' ')}\n(.*?)(?=^###|\Z)", text, re.DOTALL | re.MULTILINE)
    assert section is not None
    assert re.search(rf"^\| `{key}` \| [^|]+ \| `{re.escape(declared.default)}` \|", section[1], re.MULTILINE)


def test_every_default_is_read_with_the_rule_that_has_it() -> None:
    assert {name for name, _ in DEFAULTS} == set(WITHOUT)


def test_the_declared_words_are_those_of_the_rules_types() -> None:
    assert keys.record("CAP").key("scope").words == get_args(CapScope)
    assert keys.record("trigger").key("overlap").words == get_args(Overlap)
    for name in ("CAP", "DAILY", "DATES"):
        assert set(keys.record(name).key("over").words) == set(get_args(Over))
