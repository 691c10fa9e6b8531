"""Properties of any history: duplicates, encoding, caps, independence, replay, and hostile texts."""

import copy
from itertools import pairwise
from typing import Any

from drivers.trigger_world import HOUR, TEMPLATES, World, at
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.cel.conditions import Condition, Context, compile_condition
from triggers.cel.runtime import EvaluationError, as_ms
from triggers.cel.tree import SyntaxProblem
from triggers.cel.writer import Scope
from triggers.language.diagnostics import CODES, Diagnostic, InvalidRules, SourceFile
from triggers.language.document_reader import ENTRY
from triggers.loader import check, load_rules
from triggers.rules.assignment import variant
from triggers.rules.encoding import decode, encode
from triggers.rules.events import StoredEvent
from triggers.rules.state import User

RULES = """
score: s
decay: {curve: exponential, half_life: 1d}
add: [{event: view, points: event.n}, {event: buy, points: 2}]
---
score: recent
decay: {curve: linear, lifetime: 2d}
add: {event: view, points: 1}
---
trigger: cart
purpose: marketing
on: {event: cart, where: event.n > 1}
key: event.k
reentry: 6h
after: 1h
unless: [{event: buy, same: k}, {event: cart, same: k, where: event.n <= 1}]
when: score.s >= 0.1
cap: [{max: 1, per: 12h}, {max: 2, per: calendar week, scope: purpose, over: defer}]
quiet: {from: "21:00", to: "08:00"}
goal: {event: buy, same: k, within: 2d}
send: {template: a, data: {n: event.n}}
---
trigger: fallen
purpose: marketing
on: [{score: s, falls_below: 0.5, rearm: 1}, {score: recent, reaches: 2}]
unless: buy
max_age: 2h
cap: {max: 2, per: calendar week, scope: purpose}
holdout: 20%
steps: [{send: b}, {wait: 1d}, {send: c}]
---
trigger: thanks
purpose: transactional
on: buy
send: d
"""
START = at("2026-01-05 00:00")

happenings = st.lists(
    st.tuples(
        st.integers(0, 6 * HOUR),  # until it arrives
        st.integers(0, 4 * HOUR),  # how old it is then
        st.sampled_from(["view", "cart", "buy", "other"]),
        st.sampled_from(["x", "y"]),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=40,
)
Happening = tuple[int, int, str, str, int]
ENTRY_SCOPE = Scope(frozenset(ENTRY))


def play(lines: list[Happening], user_id: str = "u1", *, twice: bool = False, recode: bool = False) -> World:
    """A world in which these things happen; each event twice, or the state encoded in between, changes nothing."""
    world = World(RULES, user_id=user_id)
    now = START
    for number, (gap, age, name, key, n) in enumerate(lines):
        now += gap
        event_id = f"e{number}"
        world.event(now - age, name, arrives=now, event_id=event_id, k=key, n=n)
        if twice:
            world.event(now - age, name, arrives=now, event_id=event_id, k=key, n=n)
        if recode:
            world.state = decode(user_id, encode(world.state)[0])
    world.until(now + 60 * 24 * HOUR)
    return world


@settings(max_examples=60, deadline=None)
@given(happenings)
def test_a_duplicate_changes_nothing(lines: list[Happening]) -> None:
    once, twice = play(lines), play(lines, twice=True)
    assert once.decisions == twice.decisions
    assert once.commands == twice.commands


@settings(max_examples=60, deadline=None)
@given(happenings)
def test_encoding_and_decoding_changes_nothing(lines: list[Happening]) -> None:
    straight, recoded = play(lines), play(lines, recode=True)
    assert straight.decisions == recoded.decisions
    assert decode("u1", encode(straight.state)[0]) == straight.state


@settings(max_examples=60, deadline=None)
@given(happenings)
def test_caps_are_never_exceeded_and_no_command_is_made_twice(lines: list[Happening]) -> None:
    world = play(lines)
    ids = [command.id for command in world.commands]
    assert len(ids) == len(set(ids))
    carts = [as_ms(c.decided_at) for c in world.commands if c.trigger == "cart"]
    assert all(later - earlier >= 12 * HOUR for earlier, later in pairwise(carts))
    marketing = [c.decided_at.isocalendar()[:2] for c in world.commands if c.purpose == "marketing"]
    assert all(marketing.count(week) <= 2 for week in marketing)
    assert all(8 <= c.decided_at.hour < 21 for c in world.commands if c.trigger == "cart")


@settings(max_examples=30, deadline=None)
@given(happenings, happenings)
def test_users_do_not_affect_each_other(one: list[Happening], other: list[Happening]) -> None:
    """One evaluator, two users interleaved: each has the same decisions as without the other."""
    alone = [play(one, "u1"), play(other, "u2")]
    first, second = World(RULES, user_id="u1"), World(RULES, user_id="u2")
    second.evaluator = first.evaluator
    moments = {"u1": START, "u2": START}
    for number in range(max(len(one), len(other))):
        for world, lines in ((first, one), (second, other)):
            if number < len(lines):
                gap, age, name, key, n = lines[number]
                user = world.state.user_id
                moments[user] += gap
                world.event(moments[user] - age, name, arrives=moments[user], event_id=f"e{number}", k=key, n=n)
    for world in (first, second):
        world.until(moments[world.state.user_id] + 60 * 24 * HOUR)
    assert [world.decisions for world in (first, second)] == [world.decisions for world in alone]


@settings(max_examples=30, deadline=None)
@given(happenings)
def test_a_decision_s_id_is_its_own_and_a_replay_gives_it_again(lines: list[Happening]) -> None:
    first, again = play(lines), play(copy.deepcopy(lines))
    ids = [decision.id for decision in first.decisions]
    assert ids == [decision.id for decision in again.decisions]
    assert len(ids) == len(set(ids))


@settings(max_examples=30, deadline=None)
@given(happenings)
def test_nothing_is_left_waiting_in_the_past(lines: list[Happening]) -> None:
    world = play(lines)
    due = world.state.next_due()
    assert due is None or due > world.now


@given(st.dictionaries(st.sampled_from("abcde"), st.floats(0.1, 100), min_size=2), st.floats(1.01, 5), st.data())
def test_a_grown_weight_moves_only_users_into_it(weights: dict[str, float], factor: float, data: Any) -> None:
    grown = data.draw(st.sampled_from(sorted(weights)))
    larger = weights | {grown: weights[grown] * factor}
    for number in range(30):
        before, after = variant("salt", f"u{number}", weights), variant("salt", f"u{number}", larger)
        assert before == after or after == grown


# hostile texts -------------------------------------------------------------------------------------------------------

_YAML_FRAGMENTS = (
    *("trigger: t\n", "on: ", "send: a\n", "when: ", "{", "}", "[", "]", ": ", "- ", "'", '"', "---\n", "&a ", "*a"),
    *("!x ", "<<: ", "\n", "  ", "|\n", ">-\n", "#", "10:00", "yes", "event.n > 1", "cases:\n", "score: s\n", "\t"),
    *("\ufeff", "\x00", "\ud800", "purpose: p\n", "? ", "%YAML 1.1\n", "metric: m\n", "steps:\n", "add: ", "decay: "),
)
_CEL_FRAGMENTS = (
    *(
        "event",
        ".",
        "n",
        "(",
        ")",
        "[",
        "]",
        "&&",
        "||",
        "!",
        "-",
        "1",
        "0x",
        "1e999",
        "'",
        '"',
        "\\u",
        "has(",
        "size(",
    ),
    *(" in ", "?", ":", "==", "<", "%", "/", "now", "score.s", "user.x", "occurrence.key", "true", "null", "[1,"),
    *("matches(", "size("),
)
fragments = st.sampled_from(_YAML_FRAGMENTS)
cel_fragments = st.sampled_from(_CEL_FRAGMENTS)
hostile_yaml = st.one_of(st.text(max_size=300), st.lists(fragments, max_size=40).map("".join))
hostile_cel = st.one_of(st.text(max_size=200), st.lists(cel_fragments, max_size=25).map("".join))


def diagnosed(text: str) -> list[Diagnostic]:
    """The diagnostics of a text. Any other exception fails the test."""
    source = [SourceFile("f.yaml", text)]
    try:
        load_rules(source, TEMPLATES)
        return check(source, TEMPLATES)
    except InvalidRules as invalid:
        found = invalid.diagnostics
    assert found == check(source, TEMPLATES)
    assert any(not diagnostic.is_warning for diagnostic in found)
    return found


@settings(max_examples=500, deadline=None)
@given(hostile_yaml)
def test_any_text_gives_rules_or_diagnostics(text: str) -> None:
    for diagnostic in diagnosed(text):
        assert diagnostic.code in CODES
        assert diagnostic.line >= 1
        assert diagnostic.column >= 1
        assert "\n" not in str(diagnostic)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([RULES, "trigger: t\npurpose: p\non: e\nsend: a\n"]), st.data())
def test_a_damaged_file_gives_rules_or_diagnostics(text: str, data: Any) -> None:
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 20))
    put = data.draw(st.one_of(st.text(max_size=5), fragments))
    assert {each.code for each in diagnosed(text[:start] + put + text[start + length :])} <= set(CODES)


numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def refused(text: str) -> tuple[Condition | None, SyntaxProblem | None]:
    """The condition of a text, or why there is none."""
    try:
        return compile_condition(text, "value", ENTRY_SCOPE), None
    except SyntaxProblem as problem:
        return None, problem


def failed(condition: Condition, a: Any, b: Any) -> str | None:
    """How evaluating the condition for two values fails, or None if it has a value."""
    event = StoredEvent("e", "t", 0, "", {"n": a, "a": a, "b": b})
    try:
        condition.value(Context(event, User("u", None, None, {"x": b}), None, lambda _: 1.0, 0))
    except EvaluationError as error:
        return str(error)
    return None


@settings(max_examples=500, deadline=None)
@given(hostile_cel, json_values)
def test_any_expression_is_refused_or_has_a_value_or_an_evaluation_error(text: str, value: Any) -> None:
    condition, problem = refused(text)
    if problem is not None:
        assert problem.code in CODES
        assert 0 <= problem.offset <= len(text)
    if condition is not None:
        assert failed(condition, value, value) != ""


@settings(max_examples=200, deadline=None)
@given(json_values, json_values)
def test_operators_on_any_json_have_a_value_or_an_evaluation_error(a: Any, b: Any) -> None:
    for operator in ("+", "-", "*", "/", "==", "!=", "<", ">=", "in", "&&", "||"):
        condition = compile_condition(f"event.a {operator} event.b", "value")
        assert failed(condition, a, b) != ""


@settings(max_examples=200, deadline=None)
@given(json_values, json_values)
def test_logic_is_commutative_and_equality_is_an_equivalence(a: Any, b: Any) -> None:
    for operator in ("&&", "||", "=="):
        one = compile_condition(f"(event.a {operator} event.b) == (event.b {operator} event.a)", "truth")
        event = StoredEvent("e", "t", 0, "", {"a": a, "b": b})
        context = Context(event, User("u"), None, lambda _: 1.0, 0)
        if failed(one, a, b) is None:
            assert one.holds(context)
        else:
            assert operator != "=="


COUNTED = "trigger: %s\npurpose: marketing\non: {event: view, within: 10m, %s}\nmax_age: 400d\nsend: a\n"


def _crossings(own: list[int], *, falls: bool, line: int, rearm: int) -> list[int]:
    """When a count of events within 10 minutes crosses, computed from the whole history at every minute.

    The count is a function of time: it has a value just before the minute and one after all that happens in it, and an
    event that leaves the window as another comes is no dip in between.
    """
    armed, found = not falls, []
    for now in range(max(own, default=0) + 11):
        was = sum(now - 10 <= t < now for t in own)
        value = sum(now - 10 < t <= now for t in own)
        armed = armed or (was >= rearm if falls else was < rearm)
        if armed and (was >= line > value if falls else was < line <= value):
            armed = False
            found.append(now)
    return found


@given(st.lists(st.integers(0, 6), max_size=25), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_a_count_crosses_when_the_whole_history_says_so(gaps: list[int], one: int, two: int, falls: bool) -> None:
    line, rearm = (min(one, two), max(one, two)) if falls else (max(one, two), min(one, two))
    way = f"falls_below: {line}" if falls else f"reaches: {line}"
    world = World(COUNTED % ("t", f"{way}, rearm: {rearm}"))
    start, minutes = world.now, [0, *gaps]
    own = [sum(minutes[: n + 1]) for n in range(1, len(minutes))]
    for minute in own:
        world.event(start + minute * 60_000, "view")
    world.until(start + 400 * 60_000)
    sent = [(as_ms(command.decided_at) - start) // 60_000 for command in world.commands]
    assert sent == _crossings(own, falls=falls, line=line, rearm=rearm)
