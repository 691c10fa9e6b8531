"""Metrics: the aggregates of a pattern's events in a window, at any instant and for any order of arrival."""

import random
from typing import Any, Literal

import pytest
from drivers.trigger_world import DAY, HOUR, MINUTE, TEMPLATES, World, at, event, rules
from drivers.user_states import state_with
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.zones import zone_named
from triggers.cases.case_runner import run_cases
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules
from triggers.measures.local_time import calendar_window
from triggers.measures.shapes import Calendar, Rolling
from triggers.measures.windows import CELLS, EXACT, MAX_VALUES, Tally, WindowState, value_text
from triggers.rules.encoding import decode, encode, new_state
from triggers.rules.state import User, UserState

VIEWS = "metric: views\nevent: view\nwithin: %s\nsum: event.n\ndistinct: event.k\n"
BROWSE = """
metric: views_today
event: product_viewed
within: 1d
distinct: event.sku
---
trigger: browse-abandoned
purpose: marketing
on: {event: product_viewed, where: metric.views_today.distinct >= 3}
key: user.id
after: 4h
unless: [cart_updated, order_completed]
cap: {max: 1, per: 7d}
send: {template: a, data: {sku: event.sku, category: event.category}}
cases:
  - name: four hours after the last of three different products
    given:
      - {at: "10:00", product_viewed: {sku: a, category: tea}}
      - {at: "10:05", product_viewed: {sku: b, category: tea}}
      - {at: "10:10", product_viewed: {sku: c, category: tea}}
      - {at: "11:00", product_viewed: {sku: c, category: tea}}
    expect: [{at: "15:00", send: a}]
  - name: the same product three times is not interest in three
    given:
      - {at: "10:00", product_viewed: {sku: a, category: tea}}
      - {at: "10:05", product_viewed: {sku: a, category: tea}}
      - {at: "10:10", product_viewed: {sku: a, category: tea}}
    expect: []
"""
MONDAY = at("2026-01-05 00:00")


def read(world: World, field: str, moment: str | None = None, name: str = "views") -> float | None:
    """A field of a metric as of now, or of an instant before."""
    evaluation = world.evaluator.evaluation(world.state, world.now)
    return evaluation.metric(name, field, world.now if moment is None else at(moment))


def viewing(within: str, *times: str, zone: str = "UTC", n: float = 1, k: Any = "x") -> World:
    """A world with views at these times of 5 January 2026."""
    world = World(VIEWS % within, zone=zone)
    for moment in times:
        world.event(f"2026-01-05 {moment}", "view", n=n, k=k)
    return world


# the promise ---------------------------------------------------------------------------------------------------------


def test_a_trigger_on_an_event_sees_the_metric_that_has_counted_it() -> None:
    results = run_cases(rules(BROWSE))
    assert [(each.name, each.diff) for each in results if not each.passed] == []
    assert len(results) == 2


def test_a_rolling_window_is_open_at_its_old_end() -> None:
    world = viewing("1h", "10:00", "10:30", "10:30")
    world.until("2026-01-05 10:59:59.999")
    assert read(world, "count") == 3
    world.until("2026-01-05 11:00")
    assert read(world, "count") == 2
    world.until("2026-01-05 11:30")
    assert (read(world, "count"), read(world, "sum"), read(world, "distinct")) == (0, 0, 0)


@pytest.mark.parametrize("unit", ["day", "week", "month"])
def test_a_calendar_window_is_the_users_local_day_week_or_month(unit: str) -> None:
    """29 March 2026 is a Sunday of 23 hours in Berlin: from 28 March 23:00Z to 29 March 22:00Z."""
    world = World(VIEWS % f"calendar {unit}", "2026-02-28 00:00", zone="Europe/Berlin")
    for moment in ("02-28 22:59", "02-28 23:00", "03-22 22:59", "03-22 23:00", "03-28 22:59", "03-28 23:00"):
        world.event(f"2026-{moment}", "view", n=1, k="x")
    world.until("2026-03-29 21:59:59.999")
    assert read(world, "count") == {"day": 1, "week": 3, "month": 5}[unit]
    world.until("2026-03-29 22:00")
    assert read(world, "count") == {"day": 0, "week": 0, "month": 5}[unit]
    world.until("2026-03-31 22:00")
    assert read(world, "count") == 0


def test_a_calendar_window_is_counted_anew_when_the_user_moves() -> None:
    world = viewing("calendar day", "04:00", "06:00", zone="Europe/Berlin")
    assert read(world, "count") == 2
    world.profile("2026-01-05 12:00", zone="America/New_York")
    assert read(world, "count") == 1


def test_without_an_end_everything_counts_for_ever() -> None:
    world = viewing("ever", *["10:00"] * 500)
    world.until("2036-01-05 00:00")
    assert (read(world, "count"), read(world, "sum")) == (500, 500)
    assert len(encode(world.state)[0]) < 3_000


def test_a_sum_takes_amounts_below_zero() -> None:
    world = World(VIEWS % "1d")
    for n in (50, 20.5, -20.5):
        world.event("2026-01-05 10:00", "view", n=n, k="x")
    assert read(world, "sum") == 50


def test_values_of_different_kinds_differ_and_so_do_long_values() -> None:
    world = World(VIEWS % "1d")
    for k in ("5", 5, 5.0, True, "true", "'5", "x" * 40, "x" * 40, "x" * 41):
        world.event("2026-01-05 10:00", "view", n=1, k=k)
    assert read(world, "distinct") == 7


def test_first_and_last_are_the_oldest_and_newest_event_in_the_window() -> None:
    world = viewing("1h", "10:00", "10:20", "10:40")
    world.until("2026-01-05 11:10")
    assert (read(world, "first"), read(world, "last")) == (at("2026-01-05 10:20"), at("2026-01-05 10:40"))
    world.until("2026-01-05 12:00")
    assert (read(world, "first"), read(world, "last")) == (None, None)


def test_a_missing_first_value_is_reported_as_an_error_and_does_not_match() -> None:
    world = World(
        VIEWS % "1h"
        + "---\ntrigger: t\npurpose: marketing\non: {event: ping, where: now - metric.views.last > hours(1)}\nsend: a\n"
    )
    world.event("2026-01-05 10:00", "ping")
    assert world.sent == []
    assert [(each.trigger, each.place) for each in world.problems] == [("t", "on")]


@pytest.mark.parametrize(
    ("properties", "place"),
    [({"k": "x"}, "sum"), ({"n": 1e16, "k": "x"}, "sum"), ({"n": 1}, "distinct"), ({"n": 1, "k": [1]}, "distinct")],
)
def test_an_event_whose_sum_or_value_fails_is_reported_and_not_counted(properties: dict[str, Any], place: str) -> None:
    world = World(VIEWS % "1h")
    world.event("2026-01-05 10:00", "view", **properties)
    assert read(world, "count") == 0
    assert [(each.trigger, each.place) for each in world.problems] == [("metric/views", place)]


def test_an_event_counts_where_it_is_true_and_once() -> None:
    world = World("metric: views\nevent: [view, look]\nwhere: event.n > 1\nwithin: 1h\n")
    world.event("2026-01-05 10:00", "view", n=1)
    for _ in range(2):
        world.event("2026-01-05 10:00", "look", event_id="once", n=2)
    assert read(world, "count") == 1


def test_an_event_ahead_of_the_clock_counts_already_and_a_late_one_at_its_own_time() -> None:
    world = World(VIEWS % "1h")
    world.event("2026-01-05 10:04", "view", arrives="2026-01-05 10:00", n=1, k="x")
    assert read(world, "count") == 1
    world.event("2026-01-05 09:30", "view", arrives="2026-01-05 10:05", n=1, k="x")
    world.event("2026-01-05 09:05", "view", arrives="2026-01-05 10:05", n=1, k="x")
    assert read(world, "count") == 2
    world.until("2026-01-05 10:30")
    assert read(world, "count") == 1


def test_a_send_that_settles_reads_its_due_time() -> None:
    """Due at 11:00 and decided at 11:10: what is of 11:00 and came since counts, what is of 11:05 does not."""
    text = VIEWS % "30m" + (
        "---\ntrigger: t\npurpose: marketing\non: ping\nafter: 1h\nsettle: 10m\n"
        "when: metric.views.count == 2 && metric.views.sum == 3\nsend: a\n"
    )
    world = World(text)
    world.event("2026-01-05 10:00", "ping")
    world.event("2026-01-05 10:30", "view", n=100, k="x")
    world.event("2026-01-05 10:30:00.001", "view", n=1, k="x")
    world.event("2026-01-05 11:05", "view", n=100, k="x")
    world.event("2026-01-05 11:00", "view", arrives="2026-01-05 11:06", n=2, k="x")
    world.until("2026-01-05 12:00")
    assert world.sent == [("2026-01-05 11:10:00", "t", "a")]
    assert world.decisions[0].inputs["metrics"] == {"views.count": 2.0, "views.sum": 3.0}


# how it comes and goes -----------------------------------------------------------------------------------------------


def publish(world: World, text: str) -> None:
    """Other rules from now on, with the state as it is stored."""
    world.evaluator = Evaluator(rules(text))
    world.state = decode("u1", encode(world.state)[0])


def test_a_metric_is_empty_when_first_published_and_gone_when_removed() -> None:
    plain = "trigger: t\npurpose: marketing\non: view\nsend: a\n"
    world = World(plain)
    world.event("2026-01-05 10:00", "view", n=1, k="x")
    publish(world, VIEWS % "1d" + "---\n" + plain)
    assert read(world, "count") == 0
    world.event("2026-01-05 10:01", "view", n=1, k="x")
    assert read(world, "count") == 1
    publish(world, plain)
    assert world.state.windows != {}
    world.event("2026-01-05 10:02", "view", n=1, k="x")
    assert world.state.windows == {}


def test_a_metric_that_keeps_more_than_it_did_starts_empty() -> None:
    world = World("metric: views\nevent: view\nwithin: 1d\n")
    world.event("2026-01-05 10:00", "view", n=4, k="x")
    publish(world, VIEWS % "1d")
    world.event("2026-01-05 10:01", "view", n=3, k="x")
    assert (read(world, "count"), read(world, "sum"), read(world, "distinct")) == (1, 3, 1)
    assert list(world.state.windows) == ["views/sum/distinct"]


def test_an_event_that_no_metric_counts_touches_nothing() -> None:
    world = viewing("1d", "10:00")
    before = encode(world.state)
    world.event("2026-01-05 10:01", "other", n=1, k="x")
    assert encode(world.state) == before


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", {"count": 1, "sum": 7}),
        ("{count: 4, sum: 9.5, distinct: 2}", {"count": 4, "sum": 9.5, "distinct": 2}),
        ("{distinct: 3}", {"count": 3, "sum": 0, "distinct": 3}),
        ("0", {"count": 0, "sum": 0, "distinct": 0}),
    ],
)
def test_a_case_can_begin_with_the_value_of_a_metric(value: str, expected: dict[str, float]) -> None:
    wanted = " && ".join(f"metric.views.{field} == {number:.1f}" for field, number in expected.items())
    case = f"name: it\n    user: {{metric: {{views: {value}}}}}\n    given: [{{at: '23:59', ping: {{}}}}]\n    expect:"
    text = VIEWS % "1d" + (
        f"---\ntrigger: t\npurpose: marketing\non: ping\nwhen: {wanted}\nsend: a\ncases:\n"
        f"  - {case} [{{at: '23:59', send: a}}]\n"
        f"---\ntrigger: u\npurpose: marketing\non: ping\nwhen: metric.views.count > 0\nsend: a\ncases:\n"
        f"  - {case.replace('23:59', '+1d 00:00')} []\n"
    )
    assert [(each.trigger, each.diff) for each in run_cases(rules(text)) if not each.passed] == []


# bounds --------------------------------------------------------------------------------------------------------------


def filled(window: Rolling | Calendar | None, times: list[int], *, tells: bool = True) -> WindowState:
    state = WindowState()
    tally = Tally(window, 0, True, tells)
    for time in times:
        tally.add(state, time, 1.0, value_text(time % 3))
    return state


def test_beyond_a_thousand_events_only_the_oldest_cell_is_counted_too_long() -> None:
    rolling = Rolling(DAY)
    times = [MONDAY + number * DAY // 5_000 for number in range(10_000)]
    state = filled(rolling, times)
    tally = Tally(rolling, 0, True, True)
    zone = zone_named("UTC")
    assert zone is not None
    for now in range(times[-1], times[-1] + DAY, HOUR // 7):
        exact = sum(now - DAY < time for time in times)
        found = tally.read(state, "count", tally.since(now, zone), None)
        assert found is not None
        assert exact <= found <= exact + 5_000 / CELLS + 1
        assert tally.read(state, "sum", tally.since(now, zone), None) == found
    assert len(state.instants) == EXACT
    assert len(state.cells) <= CELLS + 2


@pytest.mark.parametrize("window", [Rolling(DAY), None], ids=["rolling", "ever"])
def test_the_size_of_a_state_is_bounded(window: Rolling | None) -> None:
    state = WindowState()
    tally = Tally(window, 0, True, True)
    for number in range(4_000):
        tally.add(state, MONDAY + number * MINUTE // 10, 1e15, value_text("x" * 32 + str(number)))
    assert len(state.instants) == len(state.amounts) == len(state.values) == EXACT
    assert len(state.folded) == MAX_VALUES
    assert tally.read(state, "distinct", 0, None) == MAX_VALUES
    assert tally.read(state, "count", 0, None) == 4_000


# against counting again ----------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 3 * 24 * 4).map(lambda quarter: MONDAY + quarter * 15 * MINUTE),
        st.integers(-3, 9).map(lambda n: n / 10),
        st.sampled_from(["a", "b", "c", 1, 1.5, True]),
    ),
    max_size=25,
)
WINDOWS = st.sampled_from(["1h", "6h", "1d", "calendar day", "calendar week", "calendar month", "ever"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"])
MOMENTS = st.lists(
    st.integers(0, 4 * 24 * 4).map(lambda quarter: MONDAY + quarter * 15 * MINUTE), min_size=1, max_size=5
)
View = tuple[int, float, Any]


def begins_after(within: str, zone: str, moment: int) -> int:
    """The instant after which a window at a moment begins, as the language defines it."""
    if within == "ever":
        return MONDAY - 10**12
    if within.startswith("calendar "):
        known = zone_named(zone)
        unit: Literal["day", "week", "month"] = within.removeprefix("calendar ")  # type: ignore[assignment]
        assert known is not None
        return calendar_window(known, moment, unit)[0] - 1
    return moment - {"1h": HOUR, "6h": 6 * HOUR, "1d": DAY}[within]


def recounted(views: list[View], within: str, zone: str, moment: int) -> list[float | None]:
    """Count, sum, distinct, first and last, from all events."""
    inside = [view for view in views if begins_after(within, zone, moment) < view[0] <= moment]
    times = [view[0] for view in inside]
    different = {(type(k) is bool, isinstance(k, str), k) for _, _, k in inside}
    total = round(sum(n for _, n, _ in inside), 6)
    return [len(inside), total, len(different), min(times, default=None), max(times, default=None)]


def metrics_of(state: UserState, evaluator: Evaluator, moment: int) -> list[float | None]:
    evaluation = evaluator.evaluation(state, moment)
    values = [evaluation.metric("views", field, moment) for field in ("count", "sum", "distinct", "first", "last")]
    return [values[0], round(values[1] or 0.0, 6), *values[2:]]


def arrived(evaluator: Evaluator, views: list[View], zone: str, *, recode: bool = False) -> UserState:
    """The state after these arrived at once, after the last of them happened."""
    state = state_with(User("u1", zone), profiled=True)
    now = MONDAY + 3 * DAY
    for number, (time, n, k) in enumerate(views):
        evaluator.apply_event(state, event("view", time, f"e{number}-{time}", n=n, k=k), now)
        if recode:
            state = decode("u1", encode(state)[0])
    return state


@settings(max_examples=100, deadline=None)
@given(EVENTS, WINDOWS, ZONES, MOMENTS)
def test_a_metric_equals_a_recount_at_any_instant(
    views: list[View], within: str, zone: str, moments: list[int]
) -> None:
    """In order of time, and read at instants between the events and after them."""
    evaluator = Evaluator(rules(VIEWS % within))
    state = new_state(User("u1", zone))
    ordered = sorted(views, key=lambda view: view[0])
    for moment in sorted(moments):
        while ordered and ordered[0][0] <= moment:
            time, n, k = ordered.pop(0)
            evaluator.apply_event(state, event("view", time, f"e{len(ordered)}", n=n, k=k), time)
        assert metrics_of(state, evaluator, moment) == recounted(views, within, zone, moment)


@settings(max_examples=100, deadline=None)
@given(EVENTS, WINDOWS, ZONES, MOMENTS, st.randoms(use_true_random=False))
def test_neither_the_order_of_arrival_nor_storing_the_state_changes_anything(
    views: list[View], within: str, zone: str, moments: list[int], shuffler: random.Random
) -> None:
    evaluator = Evaluator(rules(VIEWS % within))
    shuffled = [*views]
    shuffler.shuffle(shuffled)
    states = [arrived(evaluator, views, zone), arrived(evaluator, shuffled, zone, recode=True)]
    for moment in moments:
        later = moment + 3 * DAY
        expected = recounted(views, within, zone, later)
        assert [metrics_of(state, evaluator, later) for state in states] == [expected, expected]


@settings(max_examples=50, deadline=None)
@given(EVENTS, EVENTS, WINDOWS)
def test_users_do_not_affect_each_other(views: list[View], others: list[View], within: str) -> None:
    evaluator = Evaluator(rules(VIEWS % within))
    alone = encode(arrived(evaluator, views, "UTC"))
    state, other = (state_with(User(user, "UTC"), profiled=True) for user in ("u1", "u2"))
    now = MONDAY + 3 * DAY
    for number in range(max(len(views), len(others))):
        for each, lines in ((other, others), (state, views)):
            if number < len(lines):
                time, n, k = lines[number]
                evaluator.apply_event(each, event("view", time, f"e{number}-{time}", each.user_id, n=n, k=k), now)
    assert encode(state) == alone


def test_a_metric_loads_by_itself() -> None:
    loaded = load_rules([SourceFile("views.yaml", VIEWS % "calendar week")], TEMPLATES)
    assert list(loaded.metrics) == ["views"]
    assert loaded.metrics["views"].metric.window == Calendar("week")
