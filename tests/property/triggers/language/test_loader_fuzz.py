"""Hostile files: for any text, the loader gives diagnostics, raises nothing, and takes less than two seconds."""

import string
from pathlib import Path
from typing import Any

import pytest
from drivers.own_time import within
from hypothesis import given
from hypothesis import strategies as st

from triggers.language.diagnostics import CODES, Diagnostic, SourceFile
from triggers.language.yaml_tree import MAX_FILE_CHARS
from triggers.loader import check

EXAMPLES = sorted((Path(__file__).parents[4] / "examples").glob("*.yaml"))
TEMPLATES = {path.stem: "0" * 32 for path in (EXAMPLES[0].parent / "templates").iterdir()}
MOST_S = 2.0

RULE = "trigger: t\npurpose: marketing\non: ping\nsend: a\n"
HUGE = "9" * 5_000
"""More digits than Python converts to a number by default."""


def checked(text: str) -> list[Diagnostic]:
    """The diagnostics of a text, within the time limit."""
    with within(MOST_S):
        found = check([SourceFile("f.yaml", text)], {"a": "0" * 32, **TEMPLATES})
        shown = [str(diagnostic) for diagnostic in found]
    assert {diagnostic.code for diagnostic in found} <= CODES.keys()
    assert all(diagnostic.line >= 1 and diagnostic.column >= 1 for diagnostic in found)
    assert not any("\n" in each for each in shown)
    return found


def whole(part: str, end: str = "") -> str:
    """As many of a part as a file may hold."""
    return part * ((MAX_FILE_CHARS - len(end)) // len(part)) + end


LARGE = {
    "opening brackets": whole("["),
    "opening braces": whole("{"),
    "dashes": whole("- "),
    "lines of dashes": whole("-\n"),
    "documents of nothing": whole("---\n"),
    "documents of a word": whole("a\n---\n"),
    "one key again and again": whole("trigger: t\n"),
    "many unknown keys": RULE + "".join(f"k{n}: v\n" for n in range(80_000)),
    "one long key": RULE + "w" * 900_000 + ": 1\n",
    "quotes": whole("'"),
    "escapes": 'a: "' + whole("\\x41", '     "'),
    "tags": whole("!a "),
    "block marks": whole("|\n"),
    "many steps": RULE.replace("send: a", "steps:") + "  - {send: a}\n" * 60_000,
    "many sources": RULE.replace("ping", "[" + "ping," * 150_000 + "ping]"),
    "many fields of same": RULE + "unless: {event: x, same: [" + "a," * 400_000 + "a]}\n",
    "many variants": RULE + "experiment: {variants: {" + ",".join(f"v{n}: 1" for n in range(60_000)) + "}}\n",
    "many cases": RULE + "cases:\n" + "  - {name: x, given: [], expect: []}\n" * 25_000,
    "many rules": "".join(f"---\n{RULE.replace(': t', f': t{n}')}" for n in range(15_000)),
    "many wrong rules": "".join(f"---\n{RULE.replace('purpose', f'purpos{n}')}" for n in range(15_000)),
    "a long name of a template": RULE.replace("send: a", "send: " + "b" * 900_000),
}
ODD = {
    "digits": f"priority: {HUGE}",
    "a long fraction": f"priority: 0.{HUGE}",
    "a duration of digits": f"expires: {HUGE}w",
    "a duration beyond all time": "expires: 999999999999999999w",
    "a percentage of digits": f"holdout: {HUGE}%",
    "a cap of digits": f"cap: {{max: {HUGE}, per: {HUGE}d}}",
    "a clock of digits": f'quiet: {{from: "{HUGE}:00", to: "08:00"}}',
    "all dates": 'quiet: {from: "0001-01-01", through: "9999-12-31"}',
    "a zone of slashes": f'quiet: {{from: "21:00", to: "08:00", zone: "{"A/" * 5_000}"}}',
    "weights of digits": f"experiment: {{variants: {{a: {HUGE}, b: 1}}}}",
    "the last day": 'cases: [{name: x, start: "9999-12-31", given: [{at: "+999999999d 10:00", ping: {}}], expect: []}]',
    "the first day": 'cases: [{name: x, start: "0001-01-01", user: {zone: Asia/Tokyo}, given: [], expect: []}]',
    "a null character": 'description: "\\0\\uFFFF\\ud800"',
    "an empty name": '"": 1',
}
LONG = {
    "names": "a" * 5_000,
    "fields": "event" + ".a" * 5_000,
    "alternatives": " || ".join(["event.a"] * 2_000),
    "conjunctions of scores": " && ".join(f"score.z{n} > 1" for n in range(500)),
    "parentheses": "(" * 5_000 + "1" + ")" * 5_000,
    "open parentheses": "(" * 50_000,
    "negations": "!" * 5_000 + "event.a",
    "minus signs": "-" * 5_000 + "1 > 0",
    "sums": "+".join(["1"] * 5_000) + " > 0",
    "choices": "event.a ? 1 : " * 2_000 + "2",
    "digits": f"event.n > {HUGE}",
    "hexadecimal digits": f"event.n > 0x{'f' * 5_000}",
    "an exponent": f"event.n > 1e{HUGE}",
    "a list": "event.a in [" + "1," * 5_000 + "1]",
    "escapes": 'event.n == "' + "\\u00e9" * 5_000 + '"',
    "spaces": "event.a" + " " * 50_000 + "== 1",
    "calls": "size(" * 2_000 + "event.a" + ")" * 2_000,
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE.keys())
def test_a_large_file_is_read_or_refused_in_time(text: str) -> None:
    checked(text[:MAX_FILE_CHARS])


@pytest.mark.parametrize("line", ODD.values(), ids=ODD.keys())
def test_an_odd_value_is_read_or_refused(line: str) -> None:
    checked(f"{RULE}{line}\n")


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_a_long_expression_is_compiled_or_refused_in_time(text: str) -> None:
    checked(f"{RULE}when: '{text}'\n")


@pytest.mark.parametrize("between", [" && ", " || ", " + "])
def test_many_questions_of_one_score_are_compiled_or_refused(between: str) -> None:
    score = "score: s\ndecay: {curve: step, lifetime: 1d}\nadd: {event: ping, points: 1}\n---\n"
    for count in (10, 100, 1_000):
        found = checked(f"{score}{RULE}when: '{between.join(['score.s > 1'] * count)}'\n")
        assert between == " + " or count > 10 or found == []


def test_deep_nesting_is_refused_at_its_place() -> None:
    nested = "".join(f"{'  ' * depth}a:\n" for depth in range(500))
    assert [each.code for each in checked(nested) if not each.is_warning] == ["yaml-limit"]
    branches = "".join(f"{'  ' * depth}- if: event.a\n{'  ' * depth}  then:\n" for depth in range(200))
    assert "yaml-limit" in {each.code for each in checked(f"{RULE.replace('send: a', 'steps:')}{branches}")}


@given(st.binary(max_size=400))
def test_bytes_that_are_read_as_text_give_diagnostics(body: bytes) -> None:
    checked(body.decode("utf-8", "surrogateescape"))
    checked(body.decode("latin-1"))


pieces = st.one_of(
    st.text(max_size=6),
    st.text(string.punctuation + " \n", max_size=4),
    st.sampled_from(
        ["10:00", "yes", "1e3", "0x1F", "2026-01-01", "&a ", "*a", "!x ", "<<: ", "---\n", "on", HUGE, "\t"]
    ),
)


@given(st.sampled_from(EXAMPLES), st.data())
def test_an_example_that_was_damaged_gives_rules_or_diagnostics(path: Path, data: Any) -> None:
    text = path.read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.sampled_from([0, 1, 2, 8, 60]))
        text = text[:start] + data.draw(pieces) + text[end:]
    checked(text)


@given(st.sampled_from(EXAMPLES), st.data())
def test_an_example_with_its_lines_moved_gives_rules_or_diagnostics(path: Path, data: Any) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 4))):
        taken = lines.pop(data.draw(st.integers(0, len(lines) - 1)))
        for _ in range(data.draw(st.integers(0, 2))):
            lines.insert(data.draw(st.integers(0, len(lines))), " " * data.draw(st.integers(0, 4)) + taken)
    checked("".join(lines))
