"""YAML that means the same under 1.1 and 1.2, and the places of characters inside quoting."""

import pytest

from triggers.language.diagnostics import Report, SourceFile
from triggers.language.yaml_scalars import Ambiguous, resolve
from triggers.language.yaml_tree import MappingNode, ScalarNode, documents, plain_value
from triggers.loader import check


def read(text: str) -> tuple[object, list[str]]:
    report = Report(SourceFile("f.yaml", text))
    nodes = documents(report)
    return [plain_value(node) for node in nodes], [each.code for each in report.diagnostics]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("17", 17),
        ("-3", -3),
        ("0.25", 0.25),
        ("1h30m", "1h30m"),
        ("10%", "10%"),
        ("event.total >= 20", "event.total >= 20"),
        ("a1", "a1"),
    ],
)
def test_plain_words_mean_what_both_versions_say(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "NO", "on", "off", "Yes", "10:00", "09:00", "21:00", "2026-11-27", "017", "1_000", "1e3"],
)
def test_what_the_versions_read_differently_must_be_quoted(text: str) -> None:
    with pytest.raises(Ambiguous) as caught:
        resolve(text)
    assert caught.value.code == "yaml-ambiguous"


@pytest.mark.parametrize("text", ["True", "~", "Null", "0x1F", ".5", "+1", "1.", ".inf", ".nan"])
def test_what_both_versions_read_alike_must_still_be_plain(text: str) -> None:
    with pytest.raises(Ambiguous) as caught:
        resolve(text)
    assert caught.value.code in ("yaml-number", "yaml-ambiguous")


def test_the_key_on_and_the_mode_off_are_allowed() -> None:
    assert read("on: order_completed\nmode: off\n") == ([{"on": "order_completed", "mode": "off"}], [])


def test_off_is_a_boolean_anywhere_else() -> None:
    assert read("overlap: off\n")[1] == ["yaml-ambiguous"]


def test_a_comment_after_an_expression_is_allowed() -> None:
    assert read("when: a > 1 # more\n") == ([{"when": "a > 1"}], [])


def test_documents_are_parted_by_three_dashes() -> None:
    assert read("a: 1\n---\nb: 2\n") == ([{"a": 1}, {"b": 2}], [])


def test_what_stands_before_a_syntax_error_is_still_read() -> None:
    assert read("a: 1\n---\nb: [\n") == ([{"a": 1}], ["yaml-syntax"])


def test_an_alias_bomb_is_refused_and_not_expanded() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(50))
    values, codes = read(bomb)
    assert set(codes) == {"yaml-anchor"}
    assert values


@pytest.mark.parametrize(
    ("written", "needle"),
    [
        ("k: event.a && evnt.b", "evnt"),
        ("k: 'x == ''it'' && evnt.b'", "evnt"),
        (r'k: "x == \"it\" && \u0041 evnt.b"', "evnt"),
        ("k: >-\n  event.a &&\n  evnt.b", "evnt"),
        ("k: |\n  event.a &&\n    evnt.b", "evnt"),
        ("k: event.a &&\n    evnt.b", "evnt"),
        ("k: 'event.é &&\n    evnt.b'", "evnt"),
        ('k: "event.a &&\n    evnt.b"', "evnt"),
    ],
)
def test_a_place_in_an_expression_is_found_through_quoting_and_folding(written: str, needle: str) -> None:
    report = Report(SourceFile("f.yaml", written))
    [document] = documents(report)
    assert isinstance(document, MappingNode)
    scalar = document.items["k"]
    assert isinstance(scalar, ScalarNode)
    assert scalar.place_of(scalar.text.index(needle)) == written.index(needle)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("----", "exactly three dashes at the margin, ---, part two documents"),
        ("-- -", "exactly three dashes at the margin, ---, part two documents"),
        ("owner me", "a colon and a blank follow a key, as in send: welcome"),
        ('when event.x == "a"', "a colon and a blank follow a key, as in send: welcome"),
    ],
)
def test_a_line_that_is_not_a_key_is_reported_on_that_line_and_not_on_the_next(line: str, hint: str) -> None:
    text = f"trigger: t\npurpose: marketing\n{line}\non: ping\nsend: hello\n"
    [found] = check([SourceFile("r.yaml", text)], {"hello": "h"})
    assert (found.line, found.column, found.code, found.hint) == (3, 1, "yaml-syntax", hint)


def test_a_document_without_its_separator_is_read_as_a_separate_document() -> None:
    rule = "trigger: NAME\npurpose: marketing\non: ping\nsend: hello\n"
    text = rule.replace("NAME", "a") + rule.replace("NAME", "b").replace("on: ping", "onn: ping")
    found = check([SourceFile("r.yaml", text)], {"hello": "h"})
    assert [(each.line, each.code) for each in found] == [(5, "yaml-document"), (7, "unknown-key")]


def test_a_kind_that_is_not_at_the_margin_or_comes_late_begins_no_document() -> None:
    inside = "trigger: a\ngoal:\n  trigger: b\n  score: c\n"
    for text in ("purpose: marketing\ntrigger: a\n", inside, "{trigger: a, score: b}"):
        assert "yaml-document" not in {each.code for each in check([SourceFile("r.yaml", text)], {})}
