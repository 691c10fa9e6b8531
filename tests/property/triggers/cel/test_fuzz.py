"""Hostile expressions over hostile data: a problem, a value or a CEL error within a second, nothing else."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from drivers.own_time import within
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.cel.conditions import Context, compile_condition
from triggers.cel.cost import MAX_COST
from triggers.cel.json import from_json, to_json
from triggers.cel.strict import evaluate
from triggers.cel.syntax import MAX_CHARS
from triggers.cel.tree import SyntaxProblem
from triggers.cel.values import EvaluationError
from triggers.language.diagnostics import CODES
from triggers.rules.events import StoredEvent
from triggers.rules.state import User

VALID = (
    "event.a.exists(x, x.price > 20 && x.name.matches('^a+'))",
    "event.a.map(x, x * 2).filter(y, y > event.b)[0] == 4.0",
    "event.a.all(x, event.b.exists(y, x == y)) ? event.a : [event.b, now]",
    "user.x in event.b || score.s > 3 || has(event.a.b) && !segment.s",
    "{'a': event.a, 1: [1u, b'x'], true: r'\\d'}['a'].b",
    "now.getHours(user.zone) < 9 || timestamp(event.a) - now < duration('1h30m')",
    "string(event.a).split(',', 2).join('-').replace('a', event.b).substring(1) + '''it's'''",
    "int(event.a) % 3 == -9223372036854775808 || double(event.b) / 0.0 > 1e300",
    "type(event.a) == type(event.b) || event.`a` == event.b && dyn(1) != 2u",
    "[[1, 2.5], ['a']].map(x, x + [event.a]).exists_one(x, size(x) > 1 ? true : x[0] in event.b)",
)
FRAGMENTS = (
    *(" && ", "||", "(", ")", "[", "]", "{", "}", ".", ":", "?", "!", "-", "+", "*", "/", "%", " in ", ",", "==", "<"),
    *("'", '"', "'''", "b'", "r'", "\\", "`a`", "//", "\n", "\x00", "é", "🐱", "1", "0x", "1u", "1.5", "1e400"),
    *(
        "9223372036854775808",
        "event.a",
        "event.b",
        "user.x",
        "now",
        "x",
        "true",
        "null",
        ".all(x, ",
        ".map(x, ",
        "size(",
    ),
    *("type(", "int(", "string(", "duration('1h')", "timestamp(0)", ".getHours(", ".matches('a*')", "has("),
)
DATA: tuple[Any, ...] = (
    *(1, 1.5, None, True, "abc", 10**18, 1e308, "2020-01-01T00:00:00Z", "x" * 3_000, list(range(300)), []),
    *([1, 2.0, "x", [1]], {"a": [1], "b": {"c": None}}, [[["a"] * 20] * 20] * 20, {f"k{n}": n for n in range(50)}),
    [{"price": 30, "name": "aa"}, {"price": "?"}],
)


def mutated(chance: random.Random) -> str:
    """A valid expression with pieces taken out, put in, repeated and exchanged."""
    text = chance.choice(VALID)
    for _ in range(chance.randrange(4)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.randrange(8))
        change = chance.randrange(4)
        if change == 0:
            put = ""
        elif change == 1:
            put = chance.choice(FRAGMENTS)
        elif change == 2:
            put = chance.choice(VALID)
        else:
            put = text[start:end] * chance.randrange(30)
        text = text[:start] + put + text[end:]
    return text


def in_rules(text: str, a: Any, b: Any) -> Any:
    """The expression's value as a rule's."""
    condition = compile_condition(text, "value")
    assert condition.code.cost <= MAX_COST
    event = StoredEvent("e", "t", 1_700_000_000_000, "", {"a": a, "b": b})
    user = User("u", "Europe/Berlin", None, {"x": a})
    return condition.value(Context(event, user, None, lambda _: 1.0, 1_700_000_000_000))


def in_strict_cel(text: str, a: Any, b: Any) -> Any:
    """The expression's value as CEL defines it; what is written of it is read again as the same."""
    written = to_json(evaluate(text, {"event": {"a": a, "b": b}, "user": {"x": a}, "x": b}))
    assert repr(to_json(from_json(written))) == repr(written)
    return written


def problem_or_error(evaluated: Callable[[], Any]) -> SyntaxProblem | EvaluationError | None:
    """How the evaluation fails, if it does; anything else escapes."""
    try:
        evaluated()
    except (SyntaxProblem, EvaluationError) as error:
        return error
    return None


def check(text: str, a: Any, b: Any) -> None:
    """Either way of evaluating ends within a second of computing, in one of the ways that it may end."""
    for evaluate_text in (in_rules, in_strict_cel):
        with within(1):
            failed = problem_or_error(partial(evaluate_text, text, a, b))
        if isinstance(failed, SyntaxProblem):
            assert failed.code in CODES
            assert 0 <= failed.offset <= len(text)
        assert failed is None or str(failed)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(DATA), st.sampled_from(DATA))
def test_a_damaged_expression_is_refused_or_ends(seed: int, a: Any, b: Any) -> None:
    check(mutated(random.Random(seed)), a, b)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join) | st.text(max_size=60), st.sampled_from(DATA))
def test_any_text_is_refused_or_ends(text: str, a: Any) -> None:
    check(text, a, a)


@pytest.mark.parametrize("text", VALID)
def test_what_is_damaged_is_valid_before(text: str) -> None:
    with pytest.raises(EvaluationError):
        evaluate(f"{text} == 1 / 0", {})
    for a in DATA:
        check(text, a, a)


LONG = (
    *("!", "-", "(", "[", "{1:", "'", '"', "'''", '"""', "r'", "`", "\\", "//", " ", "1", "x", "é", "a.", "a||", "1+"),
    *("a?a:", "a?", "a&&(", "f(", "a.f(", "x[", "'''a", "0x1", "1.", "a in ", "[1,", "a.all(b,", "{a:", "\\x41", "\n"),
)


@pytest.mark.parametrize("piece", LONG)
def test_the_longest_texts_are_read_within_a_second(piece: str) -> None:
    text = (piece * MAX_CHARS)[:MAX_CHARS]
    check(text, 1, 2)
    check(text[:-1] + "1", 1, 2)
    check(f"'{text[:-2]}'", 1, 2)
