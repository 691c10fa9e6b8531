"""Losses to a bound on memory are counted by rule, metric or score, and noted by a backtest."""

import re
from pathlib import Path
from typing import Any

import pytest
from drivers.trigger_world import MINUTE, World, at, event, rules

from triggers.cases.backtest import BacktestResult, backtest
from triggers.cases.forgotten import forgotten_notes
from triggers.engine.evaluation import Effects

MANUAL = Path(__file__).parents[4] / "docs" / "triggers.md"
START = at("2026-01-05 10:00")
BASE = "trigger: t\npurpose: marketing\n"


def forgotten(text: str, number: int, names: str = "x", step_ms: int = 1, **fields: str) -> dict[tuple[str, str], int]:
    """The counts after this many events of a user, a millisecond or `step_ms` apart; `{n}` in a field is the number."""
    return dict(run(text, number, names, step_ms, **fields).forgotten)


def run(text: str, number: int, names: str = "x", step_ms: int = 1, **fields: str) -> BacktestResult:
    numbered: list[dict[str, Any]] = [
        {name: value.format(n=n) for name, value in fields.items()} for n in range(number)
    ]
    events = [
        event(name, START + n * step_ms, f"{name}{n}", **given) for n, given in enumerate(numbered) for name in names
    ]
    return backtest(rules(text), events)


METRIC = "metric: m\nevent: x\nwithin: {within}\n{more}---\n" + BASE + "on: y\nwhen: metric.m.count > 3\nsend: a\n"


def metric(within: str, more: str = "") -> str:
    return METRIC.replace("{within}", within).replace("{more}", more)


def test_events_of_a_metric_that_leave_together_are_counted() -> None:
    assert forgotten(metric("30d"), 1_000) == {}
    assert forgotten(metric("30d"), 1_003) == {("metric/m", "single events"): 3}


def test_a_metric_without_an_end_loses_nothing() -> None:
    assert forgotten(metric("ever"), 1_003) == {}


def test_different_values_that_a_metric_cannot_keep_are_counted() -> None:
    text = metric("ever", "distinct: event.sku\n")
    assert forgotten(text, 1_064, sku="s{n}") == {}
    assert forgotten(text, 1_066, sku="s{n}") == {("metric/m", "different values"): 2}


def test_events_of_a_levels_window_that_leave_together_are_counted_for_its_rule() -> None:
    text = f"{BASE}on: {{event: x, within: 30d, sum: size(event.a), reaches: 100000}}\nsend: a\n"
    assert forgotten(text, 1_002, a="12") == {("t", "single events"): 2}


def test_a_level_over_a_count_is_exact_and_counts_nothing() -> None:
    assert forgotten(f"{BASE}on: {{event: x, within: 30d, reaches: 5}}\nsend: a\n", 50) == {}


@pytest.mark.parametrize("curve", ["linear, lifetime: 30d", "step, lifetime: 30d", "power, scale: 1d, exponent: 1"])
def test_additions_to_a_score_that_become_one_are_counted(curve: str) -> None:
    score = f"score: s\ndecay: {{curve: {curve}}}\nadd: {{event: x, points: 1}}\n"
    text = f"{score}---\n{BASE}on: y\nwhen: score.s > 3\nsend: a\n"
    assert forgotten(text, 256) == {}
    assert forgotten(text, 260) == {("score/s", "additions"): 4}


def test_additions_that_are_over_make_room_and_are_not_counted() -> None:
    score = "score: s\ndecay: {curve: step, lifetime: 10m}\nadd: {event: x, points: 1}\n"
    assert forgotten(f"{score}---\n{BASE}on: y\nwhen: score.s > 3\nsend: a\n", 300, step_ms=MINUTE) == {}


def test_ids_of_commands_that_are_forgotten_are_counted() -> None:
    assert forgotten(f"{BASE}on: x\nsend: a\n", 128) == {}
    assert forgotten(f"{BASE}on: x\nsend: a\n", 130) == {("t", "command ids"): 2}


def test_sends_that_no_longer_wait_for_their_goal_are_counted_for_their_own_rule() -> None:
    with_goal = f"{BASE}on: {{event: x, where: event.n < 70.0}}\ngoal: {{event: bought, within: 1d}}\nsend: a\n"
    world = World(f"{with_goal}---\n{with_goal.replace('trigger: t', 'trigger: u').replace('< 70.0', '>= 70.0')}")
    counted: list[dict[tuple[str, str], int]] = []
    for number in range(72):
        effects = world.event(START + number, "x", n=number)
        assert isinstance(effects, Effects)
        counted.append(effects.bounds)
    assert counted == [{}] * 64 + [{("t", "goals"): 1}] * 8


def test_goals_whose_time_is_over_make_room_and_are_not_counted() -> None:
    text = f"{BASE}on: x\ngoal: {{event: bought, within: 5m}}\nsend: a\n"
    assert forgotten(text, 100, step_ms=MINUTE) == {}


def test_unless_events_before_their_entry_that_are_forgotten_are_counted() -> None:
    text = f"{BASE}on: y\nunless: {{event: x, same: sku}}\nsend: a\n"
    assert forgotten(text, 16, sku="s{n}") == {}
    assert forgotten(text, 19, sku="s{n}") == {("t", "unless events"): 3}
    assert forgotten(text, 19, sku="s") == {}


def test_entries_that_an_occurrence_no_longer_keeps_are_counted() -> None:
    text = f"{BASE}on: x\nkey: user.id\noverlap: gather\nafter: 1d\nsend: a\n"
    assert forgotten(text, 100) == {}
    assert forgotten(text, 103) == {("t", "gathered events"): 3}


LARGE = "x" * 10_000


def gathered(*posts: str) -> dict[tuple[str, str], int]:
    """What was forgotten of 10 kB entries about these posts."""
    text = f"{BASE}on: x\nkey: event.post\noverlap: gather\nafter: 1d\nsend: a\n"
    events = [event("x", START + n, f"x{n}", post=post, body=LARGE) for n, post in enumerate(posts)]
    return dict(backtest(rules(text), events).forgotten)


def test_entries_that_take_more_bytes_than_a_user_may_have_are_forgotten_and_counted() -> None:
    assert gathered(*"a" * 7) == {}
    assert gathered(*"a" * 9) == {("t", "gathered events"): 2}
    assert gathered(*"aaaaabbbbb") == {("t", "gathered events"): 2}
    assert gathered(*"ab" * 100) == {("t", "gathered events"): 192}


WAITING = BASE + "on: x\nsteps: [{wait_for: bought, up_to: 1d}, {wait: 1h}, {send: {template: a, data: {n: %s}}}]\n"


def waiting(text: str, number: int, **properties: Any) -> tuple[World, Effects]:
    """A world in which so many occurrences waited for one event, and what that did."""
    world = World(text)
    for each in range(number):
        world.event(START + each, "x")
    return world, world.event(START + MINUTE, "bought", event_id="b", **properties)


def test_of_a_large_event_a_rule_remembers_what_it_reads() -> None:
    text = WAITING % '"has(occurrence.matched.gift) ? occurrence.matched.n : 0"'
    world, effects = waiting(text, 50, n=3, gift=True, items=LARGE)
    assert (effects.bounds, len(world.encoded()) < 20_000) == ({}, True)
    world.until(START + 3 * 60 * MINUTE)
    assert [command.data for command in world.commands] == [{"n": 3}] * 50
    assert world.decisions[0].event_ids[-1] == "b"


def test_what_is_remembered_beyond_its_bytes_counts_without_its_fields_and_is_counted() -> None:
    world, effects = waiting(WAITING % "occurrence.matched.n", 10, n=LARGE)
    assert (effects.bounds, len(world.encoded()) < 70_000) == ({("t", "remembered events"): 4}, True)
    world.until(START + 3 * 60 * MINUTE)
    assert len(world.commands) == 6


def test_what_no_step_ahead_reads_is_forgotten_first_and_not_counted() -> None:
    read = "{send: {template: %s, data: {n: occurrence.matched.n}}}"
    steps = f"[{{wait_for: y, up_to: 1d}}, {{wait_for: z, up_to: 1d}}, {{wait: 1h}}, {read % 'a'}]"
    world = World(f"{BASE}on: x\nsteps: {steps}\n")
    for each in range(6):
        world.event(START + each, "x")
    world.event(START + MINUTE, "y", n=LARGE)
    lost = world.event(START + 2 * MINUTE, "z", n=LARGE).bounds
    world.until(START + 3 * 60 * MINUTE)
    assert (lost, len(world.commands)) == ({}, 6)


def test_a_backtest_notes_what_a_limit_made_it_forget() -> None:
    notes = run(metric("30d"), 1_001).notes
    assert "metric/m: forgot single events 1 time, because a user had more than the 1,000 that are kept" in notes


def test_a_note_names_the_bound_that_the_manual_gives_for_each_thing_that_is_counted() -> None:
    rows = [line.split(" | ") for line in MANUAL.read_text().splitlines() if line.count(" | ") == 3]
    bounds = {named[1]: row[1] for row in rows if (named := re.match(r"`([a-z ]+)`", row[3]))}
    assert len(bounds) == 12
    for what, bound in bounds.items():
        [note] = forgotten_notes({("t", what): 2})
        most = bound.split()[0].strip(",")
        assert note.startswith(f"t: forgot {what} 2 times, because a user had more than the {most} ")
