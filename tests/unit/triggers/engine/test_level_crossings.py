"""Level crossings over windows: counts, sums and different values, rolling and by the calendar."""

from typing import Any, Literal

import pytest
from drivers.trigger_world import DAY, HOUR, MINUTE, TEMPLATES, World, at, event, rules, shown
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.zones import zone_named
from triggers.cel.runtime import as_ms
from triggers.engine.evaluator import Evaluator
from triggers.engine.levels import MAX_GROUP_CHARS, MAX_GROUPS
from triggers.language.diagnostics import SourceFile
from triggers.loader import check
from triggers.measures.local_time import calendar_window
from triggers.rules.encoding import decode, encode

RULE = "trigger: t\npurpose: marketing\non: {event: buy, %s}\nsend: a\n"
FALLS = RULE % "within: calendar day, falls_below: 2"


def crossed(world: World) -> list[tuple[str, str]]:
    """The crossings: (instant, the event that names it)."""
    return [(shown(as_ms(each.decided_at)), each.occurrence) for each in world.commands]


def test_a_sum_reaches_its_line_with_the_event_that_fills_the_window() -> None:
    world = World(RULE % "within: 1h, sum: event.n, reaches: 100")
    for moment, n in (("10:00", 60), ("10:30", 39.99), ("11:00", 60), ("11:10", 0.01)):
        world.event(f"2026-01-05 {moment}", "buy", n=n)
    assert crossed(world) == [("2026-01-05 11:10:00.000", '["e4"]')]


def test_a_sum_falls_below_its_line_when_an_amount_leaves_the_window() -> None:
    world = World(RULE % "within: 1h, sum: event.n, falls_below: 50, rearm: 100")
    for moment, n in (("10:00", 30), ("10:10", 70), ("10:20", 20)):
        world.event(f"2026-01-05 {moment}", "buy", n=n)
    world.until("2026-01-06 00:00")
    assert crossed(world) == [("2026-01-05 11:10:00.000", '["e3"]')]


def test_only_different_values_bring_a_distinct_level_to_its_line() -> None:
    world = World(RULE % "within: 1h, distinct: event.k, reaches: 3")
    for moment, k in (("10:00", "a"), ("10:10", "b"), ("10:20", "a"), ("11:05", "c"), ("11:09", "b")):
        world.event(f"2026-01-05 {moment}", "buy", k=k)
    assert crossed(world) == [("2026-01-05 11:05:00.000", '["e4"]')]  # `a` counts by its second event


def test_a_distinct_level_falls_when_a_values_last_event_leaves_the_window() -> None:
    world = World(RULE % "within: 1h, distinct: event.k, falls_below: 2")
    for moment, k in (("10:00", "a"), ("10:10", "b"), ("10:20", "a")):
        world.event(f"2026-01-05 {moment}", "buy", k=k)
    world.until("2026-01-06 00:00")
    assert crossed(world) == [("2026-01-05 11:10:00.000", '["e3"]')]


def test_a_count_by_the_calendar_begins_anew_at_local_midnight() -> None:
    world = World(RULE % "within: calendar day, reaches: 2", zone="Europe/Berlin")
    for moment in ("05 21:00", "05 22:59", "05 23:00", "05 23:01", "06 10:00", "06 23:30"):
        world.event(f"2026-01-{moment}", "buy")
    assert [moment for moment, _ in crossed(world)] == ["2026-01-05 22:59:00.000", "2026-01-05 23:01:00.000"]


def test_a_count_by_the_calendar_falls_at_local_midnight_and_is_planned_anew_when_the_user_moves() -> None:
    world = World(FALLS, zone="Europe/Berlin")
    world.event("2026-01-05 10:00", "buy")
    world.event("2026-01-05 11:00", "buy")
    assert world.state.next_due() == at("2026-01-05 23:00")
    world.profile("2026-01-05 12:00", zone="America/New_York")
    assert world.state.next_due() == at("2026-01-06 05:00")
    world.until("2026-01-08 00:00")
    assert crossed(world) == [("2026-01-06 05:00:00.000", '["e2"]')]


def test_a_move_that_ends_the_local_day_at_once_crosses_then() -> None:
    world = World(FALLS, zone="America/New_York")
    world.event("2026-01-05 10:00", "buy")
    world.event("2026-01-05 11:00", "buy")
    world.profile("2026-01-05 23:30", zone="Europe/Berlin")  # there the 6th has begun
    world.until("2026-01-08 00:00")
    assert crossed(world) == [("2026-01-05 23:30:00.000", '["e2"]')]


def test_an_amount_below_zero_is_reported_and_not_counted() -> None:
    world = World(RULE % "within: 1h, sum: event.n, reaches: 10")
    for n in (9, -5, 1):
        world.event("2026-01-05 10:00", "buy", n=n)
    assert [(each.trigger, each.place) for each in world.problems] == [("t", "sum")]
    assert len(world.commands) == 1


def test_what_a_crossing_counts_can_ask_metrics_and_segments_that_the_event_has_moved() -> None:
    text = (
        "metric: m\nevent: buy\nwithin: 1d\n---\nsegment: s\nwhen: metric.m.count >= 2\n---\n"
        + RULE % "where: segment.s && metric.m.count >= 2, within: 1d, reaches: 2"
    )
    world = World(text)
    for minute in range(4):
        world.event(f"2026-01-05 10:0{minute}", "buy")
    assert crossed(world) == [("2026-01-05 10:02:00.000", '["e3"]')]


def test_an_event_that_ends_what_runs_does_not_end_what_its_crossing_begins() -> None:
    world = World(
        "trigger: t\npurpose: marketing\non: {event: buy, within: 1d, reaches: 2}\nafter: 1h\nunless: buy\nsend: a\n"
    )
    world.event("2026-01-05 10:00", "buy")
    world.event("2026-01-05 10:30", "buy")
    world.until("2026-01-06 00:00")
    assert crossed(world) == [("2026-01-05 11:30:00.000", '["e2"]')]


# by group ------------------------------------------------------------------------------------------------------------

GROUPED = (
    "trigger: t\npurpose: marketing\non: {event: view, same: sku, %s}\nkey: event.sku\n"
    "unless: {event: buy, same: sku}\nsend: {template: a, data: {sku: event.sku}}\n"
)


def test_what_is_grouped_crosses_for_each_group_and_knows_what_it_has_in_common() -> None:
    world = World(GROUPED % "within: 1h, reaches: 2" + "after: 1h\n")
    for moment, sku in (("10:00", "x"), ("10:10", "y"), ("10:20", 5), ("10:30", "x"), ("10:40", 5.0)):
        world.event(f"2026-01-05 {moment}", "view", sku=sku)
    world.event("2026-01-05 10:50", "view")  # without the property it belongs to no group
    world.event("2026-01-05 11:00", "buy", sku=5)
    world.until("2026-01-06 00:00")
    assert crossed(world) == [("2026-01-05 11:30:00.000", '["x","e4"]')]
    assert world.commands[0].data == {"sku": "x"}


def test_a_group_falls_below_its_line_by_itself() -> None:
    world = World(GROUPED % "inactive: 1h")
    for moment, sku in (("10:00", "x"), ("10:10", "y"), ("10:30", "x")):
        world.event(f"2026-01-05 {moment}", "view", sku=sku)
        world.state = decode("u1", encode(world.state)[0])
    world.until("2026-01-06 00:00")
    assert [each.data["sku"] for each in world.commands] == ["y", "x"]
    assert crossed(world) == [
        ("2026-01-05 11:10:00.000", '["y","e2"]'),
        ("2026-01-05 11:30:00.000", '["x","e3"]'),
    ]


def test_an_event_holds_back_the_timer_of_its_own_group_only() -> None:
    """A view of x at 10:50 arrives at 11:30, when both groups have been due: it moves that of x."""
    world = World(GROUPED % "inactive: 1h")
    world.event("2026-01-05 10:00", "view", sku="x")
    world.event("2026-01-05 10:05", "view", sku="y")
    late = event("view", at("2026-01-05 10:50"), "late", sku="x")
    world.now = at("2026-01-05 11:30")
    world.take(world.evaluator.apply_event(world.state, late, world.now))
    world.until("2026-01-06 00:00")
    assert [each.occurrence for each in world.commands] == ['["y","e2"]', '["x","late"]']


def test_groups_are_bounded_and_those_that_are_over_are_forgotten() -> None:
    world = World(GROUPED % "within: 1h, reaches: 2")
    for number in range(MAX_GROUPS + 10):
        world.event("2026-01-05 10:00", "view", sku=f"s{number:03d}")
    assert len(world.state.windows) == len(world.state.levels) == MAX_GROUPS
    assert 't#0|["s000"]' not in world.state.windows
    world.event("2026-01-05 12:00", "view", sku="new")
    assert list(world.state.windows) == list(world.state.levels) == ['t#0|["new"]']


def test_a_rule_that_groups_no_more_forgets_its_groups() -> None:
    world = World(GROUPED % "within: 1h, reaches: 2")
    world.event("2026-01-05 10:00", "view", sku="x")
    world.evaluator = Evaluator(rules(RULE.replace("buy", "view") % "within: 1h, reaches: 2"))
    world.event("2026-01-05 10:01", "view", sku="x")
    assert list(world.state.windows) == ["t#0"]
    assert world.commands == []


def test_what_a_timer_was_set_for_may_be_gone_when_the_rule_counts_something_else() -> None:
    world = World(GROUPED % "inactive: 1h")
    world.event("2026-01-05 10:00", "view", sku="x", n=1)
    summed = GROUPED % "within: 1h, sum: event.n, falls_below: 1"
    world.evaluator = Evaluator(rules(summed + "---\ntrigger: u\npurpose: marketing\non: ping\nsend: a\n"))
    world.event("2026-01-05 10:01", "ping")
    world.commands.clear()
    world.until("2026-01-05 12:00")
    world.event("2026-01-05 12:00", "view", sku="y", n=1)
    world.until("2026-01-06 00:00")
    assert crossed(world) == [("2026-01-05 13:00:00.000", '["y","e3"]')]
    assert list(world.state.windows) == ['t#0/sum|["y"]']


def test_a_group_too_long_to_keep_is_reported() -> None:
    world = World(GROUPED % "within: 1h, reaches: 1")
    world.event("2026-01-05 10:00", "view", sku="x" * MAX_GROUP_CHARS)
    assert [(each.trigger, each.place) for each in world.problems] == [("t", "same")]
    assert world.state.levels == {}


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("within: ever, reaches: 2", "invalid-window"),
        ("within: 1h, sum: event.n, distinct: event.k, reaches: 2", "conflict"),
        ("within: 1h, distinct: event.k, reaches: 1.5", "invalid-value"),
        ("within: 1h, reaches: 1001", "invalid-value"),
        ("within: 1h, sum: event.n, reaches: 0", "invalid-value"),
        ("within: 1h, sum: '\"text\"', reaches: 1", "cel-type"),
        ("within: 1h, sum: event.n", "conflict"),
        ("inactive: 1d, sum: event.n", "conflict"),
        ("sum: event.n, reaches: 3", "missing-key"),
        ("same: k", "conflict"),
    ],
)
def test_a_wrong_crossing_is_reported(source: str, code: str) -> None:
    found = check([SourceFile("rules.yaml", RULE % source)], TEMPLATES)
    assert code in {each.code for each in found}


# against counting again ----------------------------------------------------------------------------------------------

MONDAY = at("2026-01-05 00:00")
BUYS = st.lists(
    st.tuples(
        st.integers(0, 2 * 24 * 4).map(lambda quarter: MONDAY + quarter * 15 * MINUTE),
        st.integers(0, 4),
        st.sampled_from(["a", "b", "c"]),
    ),
    min_size=1,
    max_size=16,
).map(lambda lines: sorted(lines, key=lambda line: line[0]))
Measure = Literal["count", "sum", "distinct"]
Buy = tuple[int, int, str]
ROLLING = {"1h": HOUR, "5h": 5 * HOUR}
WITHIN = st.sampled_from([*ROLLING, "calendar day", "calendar week"])


def level(buys: list[Buy], within: str, measure: Measure, zone: str, now: int) -> float:
    """The level at an instant, from all events."""
    if within in ROLLING:
        since = now - ROLLING[within]
    else:
        known = zone_named(zone)
        assert known is not None
        since = calendar_window(known, now, within.removeprefix("calendar "))[0] - 1  # type: ignore[arg-type]
    inside = [(n, k) for time, n, k in buys if since < time <= now]
    return {"count": len(inside), "sum": sum(n for n, _ in inside), "distinct": len({k for _, k in inside})}[measure]


def crossings(buys: list[Buy], within: str, measure: Measure, zone: str, way: tuple[bool, int, int]) -> list[Any]:
    """The crossings as the language defines them: (instant, number of the event that names it)."""
    falls, line, rearm = way
    armed, found = not falls, []
    for number, (now, _, _) in enumerate(buys):
        seen = buys[: number + 1]
        passed = number == 0 or buys[number - 1][0] < now  # then the level was `before` a millisecond earlier
        before, after = level(seen[:-1], within, measure, zone, now - passed), level(seen, within, measure, zone, now)
        if falls:
            armed = armed or after >= rearm
            following = buys[number + 1][0] if number + 1 < len(buys) else MONDAY + 14 * DAY
            fallen = (
                instant
                for instant in range(now, following, 15 * MINUTE)
                if level(seen, within, measure, zone, instant) < line
            )
            instant = next(fallen, None) if armed else None
            if instant is not None:
                armed = False
                found.append((instant, number))
        else:
            armed = armed or (passed and before < rearm)
            if armed and before < line <= after:
                armed = False
                found.append((now, number))
    return found


@settings(max_examples=100, deadline=None)
@given(
    BUYS,
    WITHIN,
    st.sampled_from(["count", "sum", "distinct"]),
    st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York"]),
    st.booleans(),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_crossings_are_at_the_instants_of_a_recount(
    buys: list[Buy], within: str, measure: Measure, zone: str, falls: bool, line: int, apart: int
) -> None:
    rearm = line + apart if falls else max(line - apart, 1)
    words = {"count": "", "sum": "sum: event.n, ", "distinct": "distinct: event.k, "}[measure]
    way = "falls_below" if falls else "reaches"
    world = World(RULE % f"within: {within}, {words}{way}: {line}, rearm: {rearm}", zone=zone)
    for number, (time, n, k) in enumerate(buys):
        world.event(time, "buy", event_id=f"b{number}", n=n, k=k)
        world.state = decode("u1", encode(world.state)[0])
    world.until(MONDAY + 14 * DAY)
    expected = crossings(buys, within, measure, zone, (falls, line, rearm))
    assert crossed(world) == [(shown(instant), f'["b{number}"]') for instant, number in expected]


def test_a_crossings_state_holds_no_more_events_than_its_lines_need() -> None:
    evaluator = Evaluator(rules(RULE % "within: 400d, reaches: 3"))
    world = World(RULE % "within: 400d, reaches: 3")
    for number in range(50):
        evaluator.apply_event(world.state, event("buy", MONDAY + number, f"e{number}"), MONDAY + number)
    assert len(world.state.windows["t#0"].instants) == 3


# counts of events --------------------------------------------------------------------------------------------------

PING = "trigger: t\npurpose: marketing\non: ping\n"
THRICE = PING.replace("on: ping", "on: {event: ping, where: event.n > 0, within: 10m, reaches: 3%s}") + "send: a\n"
FEWER = PING.replace("on: ping", "on: {event: ping, within: 10m, falls_below: 2%s}") + "max_age: 1h\nsend: a\n"


def sent_at(world: World) -> list[str]:
    """When each command was decided."""
    return [f"{command.decided_at:%H:%M}" for command in world.commands]


def test_a_count_reaches_its_line_with_the_event_that_fills_the_window() -> None:
    world = World(THRICE % "")
    for when in ("10:00", "10:05", "10:09", "10:09"):
        world.event(f"2026-01-05 {when}", "ping", n=1)
    assert sent_at(world) == ["10:09"]
    assert world.commands[0].occurrence == '["e3"]'


def test_a_count_leaves_out_what_is_exactly_a_window_old_and_what_where_refuses() -> None:
    world = World(THRICE % "")
    for when, n in (("10:00", 1), ("10:05", 1), ("10:06", 0), ("10:10", 1)):
        world.event(f"2026-01-05 {when}", "ping", n=n)
    assert sent_at(world) == []
    world.event("2026-01-05 10:14", "ping", n=1)
    assert sent_at(world) == ["10:14"]


def test_a_count_that_has_reached_its_line_must_first_fall_below_rearm() -> None:
    world = World(THRICE % ", rearm: 1")
    for when in ("10:00", "10:01", "10:02", "10:11", "10:12", "10:13"):  # two, then three again, never none
        world.event(f"2026-01-05 {when}", "ping", n=1)
    assert sent_at(world) == ["10:02"]
    for when in ("11:00", "11:01", "11:02"):
        world.event(f"2026-01-05 {when}", "ping", n=1)
    assert sent_at(world) == ["10:02", "11:02"]


def test_without_rearm_a_count_needs_only_to_fall_below_its_line() -> None:
    world = World(THRICE % "")
    for when in ("10:00", "10:01", "10:02", "10:11", "10:11"):
        world.event(f"2026-01-05 {when}", "ping", n=1)
    assert sent_at(world) == ["10:02", "10:11"]  # of the first three, one is left when the fourth comes


def test_a_late_event_counts_where_it_happened() -> None:
    world = World(THRICE % "")
    world.event("2026-01-05 10:00", "ping", n=1)
    world.event("2026-01-05 10:08", "ping", n=1)
    late = event("ping", at("2026-01-05 10:04"), "late", n=1)
    effects = world.evaluator.apply_event(world.state, late, at("2026-01-05 10:08"))
    assert [command.occurrence for command in effects.commands] == ['["late"]']


def test_a_count_falls_below_its_line_when_an_event_leaves_the_window() -> None:
    world = World(FEWER % "")
    for when in ("10:00", "10:04", "10:06"):
        world.event(f"2026-01-05 {when}", "ping")
    assert world.state.next_due() == at("2026-01-05 10:14")  # two in the window at 10:13:59.999, one at 10:14
    world.until("2026-01-05 12:00")
    assert sent_at(world) == ["10:14"]
    assert world.commands[0].occurrence == '["e3"]'


def test_a_count_that_was_never_at_rearm_never_falls() -> None:
    world = World(FEWER % ", rearm: 3")
    for when in ("10:00", "10:04"):
        world.event(f"2026-01-05 {when}", "ping")
    world.until("2026-01-05 12:00")
    assert sent_at(world) == []


def test_inactive_is_short_for_a_count_that_falls_below_one() -> None:
    world = World(PING.replace("on: ping", "on: {event: ping, inactive: 10m}") + "send: a\n")
    for when in ("10:00", "10:04"):
        world.event(f"2026-01-05 {when}", "ping")
    world.until("2026-01-05 12:00")
    assert sent_at(world) == ["10:14"]
