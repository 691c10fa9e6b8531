"""Bounds on memory: no event lowers a value, after any number of counted events."""

import random
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.measures.decay import MAX_PARTS, Curve, Linear, Power, ScoreState, Step
from triggers.measures.shapes import Rolling
from triggers.measures.windows import MAX_VALUES, Tally, WindowState

HOUR = 3_600_000
UTC = ZoneInfo("UTC")
few = settings(max_examples=8, deadline=None)


@few
@given(st.integers(0, 2**32), st.integers(1, 3_000), st.sampled_from([None, Rolling(HOUR)]), st.integers(1, 50))
def test_no_event_makes_the_number_of_different_values_fall(
    seed: int, different: int, window: Rolling | None, most: int
) -> None:
    """Many values first, then one again and again, which pushes the others out of the events kept one by one."""
    drawn, tally, state = random.Random(seed), Tally(window, tells=True, most=most), WindowState()
    before = 0.0
    for number in range(different + 2 * MAX_VALUES):
        value = f"v{number}" if number < different else f"v{drawn.randrange(min(3, different))}"
        tally.add(state, number, value=value)
        if number % 250 == 0 or number == different + 2 * MAX_VALUES - 1:
            now = tally.read(state, "distinct", tally.since(number, UTC), None) or 0.0
            assert now >= before
            before = now
    assert before == min(different, MAX_VALUES)


@few
@given(st.integers(0, 2**32), st.sampled_from([1, 10, 64]), st.booleans())
def test_no_event_makes_a_count_or_a_sum_fall_before_time_does(seed: int, most: int, late: bool) -> None:
    drawn, tally, state = random.Random(seed), Tally(Rolling(HOUR), sums=True, most=most), WindowState()
    for _ in range(300):
        at = drawn.randrange(2 * HOUR) if late else max([0, *state.instants[-1:]]) + drawn.randrange(HOUR // 50)
        newest = max([at, *state.instants[-1:]])
        since = tally.since(newest, UTC)
        before = [tally.read(state, name, since, None) or 0.0 for name in ("count", "sum")]
        tally.add(state, at, 1.5)
        after = [tally.read(state, name, since, None) or 0.0 for name in ("count", "sum")]
        assert after >= before


@few
@given(
    st.integers(0, 2**32),
    st.sampled_from([Linear(HOUR), Step(HOUR), Power(HOUR, 1.2)]),
    st.sampled_from([0.0, 1e-9, 0.5]),
    st.sampled_from([10.0, 1e15]),
)
def test_no_addition_makes_a_score_fall(seed: int, curve: Curve, points: float, ceiling: float) -> None:
    drawn, state, at = random.Random(seed), ScoreState(), 0
    for number in range(3 * MAX_PARTS):
        at += drawn.randrange(2_000)
        before = curve.read(state, at)
        curve.add(state, points if number > MAX_PARTS else 1.0, at, ceiling)
        assert before * (1 - 1e-12) <= state.value <= ceiling * (1 + 1e-12)
