"""What an edited document says differently: value by value, by meaning."""

from typing import Any

import pytest

from cli.manifests.edits import KeyEdit, document_edits, template_edits, written
from cli.manifests.meaning import default_of, meaning
from triggers.language.declarations import options
from triggers.language.keys import KINDS, SHAPES

RULE: dict[str, Any] = {"trigger": "a", "purpose": "marketing", "on": "ping", "send": "hello"}


def edits(
    before: dict[str, Any], after: dict[str, Any], kind: str = "trigger"
) -> list[tuple[str, str | None, str | None]]:
    return [(each.path, each.before, each.after) for each in document_edits(kind, before, after)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"after": "60m"}, {"after": "1h"}),
        ({"on": "ping"}, {"on": [{"event": ["ping"], "where": True}]}),
        ({"send": "hello"}, {"send": {"template": "hello", "channel": "email"}}),
        ({"cap": {"max": 1, "per": "3d"}}, {"cap": [{"per": "72h", "max": 1, "scope": "trigger", "over": "drop"}]}),
        ({"when": 'event.x>1&&user.a=="b"'}, {"when": "event.x > 1 && user.a == 'b'"}),
        ({"holdout": "10%"}, {"holdout": "10.0%"}),
        (
            {"quiet": {"from": "21:00", "to": "08:00", "days": "mon"}},
            {"quiet": [{"from": "21:00", "to": "08:00", "days": ["monday"]}]},
        ),
        ({"unless": ["a", "b"]}, {"unless": [{"event": "a"}, {"event": "b"}]}),
    ],
)
def test_the_same_in_other_words_is_no_edit(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert edits(RULE | before, RULE | after) == []
    assert edits(RULE | after, RULE | before) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_default_that_is_written_out_is_no_edit(kind: str) -> None:
    for key in KINDS[kind].keys:
        if (default := default_of(key)) is not None:
            assert edits({kind: "a"}, {kind: "a", key.name: default}, kind) == [], key.name


def test_each_value_is_named_by_its_path_and_a_missing_one_counts_with_its_default() -> None:
    before = RULE | {"cap": [{"max": 1, "per": "3d"}], "steps": [{"send": "x"}, {"wait": "1d"}, {"send": "y"}]}
    after = RULE | {
        "priority": 60,
        "unless": "order_completed",
        "cap": [{"max": 2, "per": "3d"}, {"max": 5, "per": "7d"}],
        "steps": [
            {"send": "x"},
            {"wait": "2d"},
            {"send": "new"},
            {"send": {"template": "y", "data": {"n": "event.n"}}},
        ],
    }
    assert edits(before, after) == [
        ("unless", None, "order_completed"),
        ("cap[1].max", "1", "2"),
        ("cap[2]", None, "{max: 5, per: 7d}"),
        ("priority", "50", "60"),
        ("steps[2].wait", "1d", "2d"),
        ("steps[3].send.template", "y", "new"),
        ("steps[4]", None, "{send: {template: y, data: {n: event.n}}}"),
    ]


def test_a_step_that_was_inserted_leaves_the_others_as_they_are() -> None:
    steps = [{"send": "x"}, {"wait": "1d"}, {"send": "y"}]
    found = edits(RULE | {"steps": steps}, RULE | {"steps": [*steps[:1], {"wait": "2h"}, {"send": "z"}, *steps[1:]]})
    assert found == [("steps[2]", None, "{wait: 2h}"), ("steps[3]", None, "{send: z}")]


def test_cases_are_only_counted() -> None:
    case = {"name": "one", "given": [], "expect": []}
    assert edits(RULE, RULE | {"cases": [case]}) == [("cases", "0", "1")]
    assert edits(RULE | {"cases": [case]}, RULE | {"cases": [case | {"name": "two"}]}) == [("cases", "1", "1 other")]


def test_a_key_that_the_language_does_not_know_is_compared_as_it_stands() -> None:
    assert edits(RULE, RULE | {"later": {"a": [1, "b, c"]}}) == [("later", None, "{a: [1, 'b, c']}")]


def test_lines_of_a_template_are_named_by_their_new_number() -> None:
    assert template_edits("a\nb\nc\n", "a\nB\nc\nd\n") == [KeyEdit("line 2", "b", "B"), KeyEdit("line 4", None, "d")]
    assert template_edits("a\nb\n", "a\n") == [KeyEdit("line 2", "b", None)]
    assert template_edits("a\r\nb", "a\nb\n") == []


def test_a_text_over_several_lines_is_shown_on_one() -> None:
    assert written("event.x > 1 &&\n  user.vip") == "event.x > 1 && user.vip"
    assert written({"where": 'event.x == "a, b"'}) == "{where: 'event.x == \"a, b\"'}"


def test_every_declared_shape_has_a_meaning_for_what_no_shape_is() -> None:
    for name in SHAPES:
        for odd in (None, [], {}, {"nope": 1}, 3.5, "", "x y", [["a"]]):
            meaning(odd, options(name))
