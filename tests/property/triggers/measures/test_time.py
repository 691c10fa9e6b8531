"""Decay and local time against brute force."""

from datetime import time

import pytest
from drivers.trigger_world import at
from hypothesis import given
from hypothesis import strategies as st

from schemas.zones import zone_named
from triggers.measures.decay import Curve, Exponential, Linear, Power, ScoreState, Step
from triggers.measures.local_time import calendar_window, first_outside, inside, reading
from triggers.measures.shapes import DailyPeriod

HOUR_MS = 3_600_000
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]

curves = st.one_of(
    st.builds(Exponential, st.integers(1_000, 10**11)),
    st.builds(Linear, st.integers(1_000, 10**10)),
    st.builds(Step, st.integers(1_000, 10**10)),
    st.builds(Power, st.integers(60_000, 10**9), st.floats(0.5, 5)),
)
additions = st.lists(st.tuples(st.floats(0, 1e6, allow_nan=False), st.integers(0, 10**10)), min_size=1, max_size=8)


def scored(curve: Curve, parts: list[tuple[float, int]], ceiling: float = float("inf")) -> ScoreState:
    state = ScoreState(at=parts[0][1])
    for points, moment in parts:
        curve.add(state, points, moment, ceiling)
    return state


@given(curves, additions, st.floats(0.01, 1e5))
def test_a_crossing_is_the_first_millisecond_below_the_line(
    curve: Curve, parts: list[tuple[float, int]], line: float
) -> None:
    state = scored(curve, parts)
    crossing = curve.falls_below(state, line)
    if crossing is None:
        assert curve.read(state, state.at + 99 * 365 * 24 * HOUR_MS) >= line
        return
    assert crossing >= state.at
    assert curve.read(state, crossing) < line
    for before in range(max(state.at, crossing - 50), crossing):
        assert curve.read(state, before) >= line


@given(curves, additions, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_change_a_score(curve: Curve, parts: list[tuple[float, int]], rng) -> None:  # type: ignore[no-untyped-def]
    shuffled = [*parts]
    rng.shuffle(shuffled)
    one, other = scored(curve, parts), scored(curve, shuffled)
    moment = max(one.at, other.at)
    assert curve.read(one, moment) == pytest.approx(curve.read(other, moment), rel=1e-9, abs=1e-9)


@given(curves, additions, st.floats(0, 100))
def test_a_score_never_passes_its_ceiling_and_never_rises_by_itself(
    curve: Curve, parts: list[tuple[float, int]], ceiling: float
) -> None:
    state = scored(curve, parts, ceiling)
    values = [curve.read(state, state.at + step * 7 * HOUR_MS) for step in range(20)]
    assert values[0] <= ceiling * (1 + 1e-9)
    assert values == sorted(values, reverse=True)


minutes = st.integers(0, 24 * 60 - 1)


@given(
    st.sampled_from(ZONES),
    minutes,
    minutes,
    st.sampled_from(["2026-03-28", "2026-10-24", "2026-06-10", "2026-04-04", "2026-10-31", "2026-03-07", "2026-02-14"]),
    st.integers(0, 3 * 24 * 60 - 1),
)
def test_a_quiet_period_ends_at_the_first_minute_whose_reading_is_outside(
    name: str, start: int, end: int, day: str, offset: int
) -> None:
    """Minute by minute over two days that may hold a change of the clock; every change is on a whole minute."""
    if start == end:
        return
    zone = zone_named(name)
    assert zone is not None
    period = DailyPeriod(time(start // 60, start % 60), time(end // 60, end % 60), None, None)
    now = at(f"{day} 00:00") + offset * 60_000
    found = first_outside([(period, zone)], now)
    expected = next(ms for ms in range(now, now + 3 * 24 * HOUR_MS, 60_000) if not inside(period, zone, ms))
    assert found == expected


@given(st.sampled_from(ZONES), st.integers(at("2020-01-01 00:00"), at("2030-01-01 00:00")))
def test_calendar_windows_hold_their_instant_and_begin_at_midnight(name: str, ms: int) -> None:
    zone = zone_named(name)
    assert zone is not None
    for unit in ("day", "week", "month"):
        first, following = calendar_window(zone, ms, unit)  # type: ignore[arg-type]
        assert first <= ms < following
        assert calendar_window(zone, following, unit)[0] == following  # type: ignore[arg-type]
        assert calendar_window(zone, first - 1, unit)[1] == first  # type: ignore[arg-type]
        assert reading(zone, first - 1).date() < reading(zone, first).date()
