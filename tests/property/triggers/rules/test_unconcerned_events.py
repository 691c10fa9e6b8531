"""An event that concerns no rule may be skipped: evaluating it with the whole state would change nothing."""

from typing import Any

from drivers.examples import examples
from drivers.trigger_world import HOUR, World, at
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.cel.conditions import Condition, Context, compile_condition
from triggers.cel.runtime import EvaluationError
from triggers.cel.writer import Scope
from triggers.rules.events import StoredEvent
from triggers.rules.interest import Interest
from triggers.rules.rule import Pattern
from triggers.rules.state import User

RULES = """
score: s
decay: {curve: exponential, half_life: 1d}
add: [{event: view, where: event.n > 2, points: event.n}, {event: buy, where: 'event.k == "x"', points: 2}]
---
trigger: cart
purpose: marketing
on: {event: cart, where: event.n > 1}
key: event.k
after: 1h
unless: [{event: buy, same: k, where: event.n > 0}, {event: view, where: event.n == occurrence.event.n}]
cap: {max: 1, per: 12h}
goal: {event: buy, where: event.n > 3, within: 2d}
send: a
---
trigger: often
purpose: marketing
on:
  - {event: view, where: event.n >= 1, within: 6h, reaches: 2}
  - {event: buy, where: 'event.k == "y" && now > event.time'}
send: b
---
trigger: rich
purpose: marketing
on: {event: buy, where: event.n > 1 && score.s > 1}
send: c
---
trigger: known
purpose: marketing
on: {event: view, where: 'score.s < 1 && (event.k == "x" && event.n < 3)'}
unless: {event: buy, where: 'user.plan == "team" && event.n == 2'}
after: 30m
send: d
"""
START = at("2026-01-05 00:00")
lines = st.lists(
    st.tuples(
        st.integers(0, 3 * HOUR),
        st.sampled_from([0, 0, -HOUR, 6 * 60_000]),  # its own time, from when it arrives: late, and too far ahead
        st.sampled_from(["view", "cart", "buy", "other"]),
        st.sampled_from(["x", "y"]),
        st.one_of(st.integers(0, 5), st.just("text")),
    ),
    min_size=1,
    max_size=30,
)


def play(happenings: list[Any], *, all_read: bool) -> tuple[list[Any], Any]:
    """What is decided, and the scores and occurrences that are left."""
    world = World(RULES)
    if all_read:
        for route in world.evaluator.rules.routes.values():
            route.interest.always = True
    now = START
    for gap, age, name, key, n in happenings:
        now += gap
        world.event(now + age, name, arrives=now, k=key, n=n)
    world.until(now + 8 * HOUR)
    problems = [(each.trigger, each.place) for each in world.problems]
    return [world.decided, problems], (world.state.scores, world.state.running, world.state.reservations)


@settings(max_examples=examples(60), deadline=None)
@given(lines)
def test_an_event_that_concerns_no_rule_would_have_changed_nothing(happenings: list[Any]) -> None:
    assert play(happenings, all_read=False) == play(happenings, all_read=True)


def test_an_event_that_no_where_takes_is_not_remembered() -> None:
    world = World(RULES)
    world.event("2026-01-05 01:00", "cart", event_id="same", k="x", n=1)
    assert "same" not in world.state.seen
    world.event("2026-01-05 01:01", "cart", event_id="same", k="x", n=2)
    assert "same" in world.state.seen


OPERANDS = [
    'event.k == "x"',
    '"y" == event.k',
    'event.k in ["x", "z"]',
    'event.other == "x"',
    "event.k == 3",
    'event.k != "x"',
    "event.n > 1",
    "has(event.k)",
    'event.k.startsWith("x")',
    'event.id == "x"',
    '(event.k == "x" || event.n == 2)',
    'event.k in ["x", 3]',
    'user.plan == "team"',
]
wheres = st.lists(st.sampled_from(OPERANDS), min_size=1, max_size=3).map(" && ".join)
texts = st.sampled_from(["x", "y", "z", 3, None, ["x"]])
properties = st.dictionaries(st.sampled_from(["k", "other", "n"]), texts | st.integers(0, 3), max_size=3)


def answers(where: Condition, event: StoredEvent) -> bool:
    """Whether the condition is true of the event, or fails and must be reported."""
    try:
        return where.holds(Context(event, User(""), None, lambda _: 0.0, START))
    except EvaluationError:
        return True


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(wheres, min_size=1, max_size=5), properties)
def test_an_event_is_relevant_if_some_where_matches_or_fails(wheres: list[str], properties: dict[str, Any]) -> None:
    event = StoredEvent("x", "buy", START, "shop", properties)
    interest = Interest()
    patterns = [Pattern(("buy",), compile_condition(where, "truth", Scope())) for where in wheres]
    for pattern in patterns:
        interest.add(pattern)
    answered = [answers(pattern.where, event) for pattern in patterns if pattern.where is not None]
    if interest.context(event, START) is not None:
        asks_more = any("user" in where for where in wheres)  # what asks the user is not asked yet
        assert asks_more or any(answered)
    else:
        assert not any(answered)
