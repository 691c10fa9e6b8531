"""What holds for every pair of counts."""

import math
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cli.analytics.experiments import Arm, beliefs, chi_square_tail, difference, lift, sample_ratio


@st.composite
def arm(draw: st.DrawFn, name: str = "arm", most: int = 100_000) -> Arm:
    """Any counts."""
    subjects = draw(st.integers(0, most))
    return Arm(name, subjects, draw(st.integers(0, subjects)))


@given(plain=arm("plain", 60), photo=arm("photo", 60))
def test_the_probability_to_be_best_is_the_exact_sum(plain: Arm, photo: Arm) -> None:
    """P(photo > plain) of two Beta posteriors in whole numbers, as a sum of fractions (Cook, 2005)."""

    def beta(a: int, b: int) -> Fraction:
        return Fraction(math.factorial(a - 1) * math.factorial(b - 1), math.factorial(a + b - 1))

    a, b = 1 + plain.successes, 1 + plain.subjects - plain.successes
    c, d = 1 + photo.successes, 1 + photo.subjects - photo.successes
    exact = sum(beta(a + i, b + d) / ((d + i) * beta(1 + i, d) * beta(a, b)) for i in range(c))
    assert beliefs([plain, photo])[1].best == pytest.approx(float(exact), abs=1e-4)


@example(arms=[Arm("wide", 3, 3)] * 3 + [Arm("within a cell of the others", 2451, 2451)])
@given(arms=st.lists(arm(), min_size=1, max_size=5))
def test_some_arm_is_the_best(arms: list[Arm]) -> None:
    assert math.fsum(belief.best for belief in beliefs(arms)) == pytest.approx(1, abs=1e-3)


@given(found=arm())
def test_a_belief_has_its_mean_within_its_bounds(found: Arm) -> None:
    [belief] = beliefs([found])
    assert 0 <= belief.low < belief.high <= 1
    assert belief.mean == pytest.approx((found.successes + 1) / (found.subjects + 2))
    if 10 <= found.successes <= found.subjects - 10:
        assert belief.low < belief.mean < belief.high


@given(control=arm(), other=arm())
def test_arms_in_the_other_order_give_the_other_sign(control: Arm, other: Arm) -> None:
    there, back = difference(control, other), difference(other, control)
    assume(there is not None)
    assert there is not None
    assert back is not None
    assert back.estimate == pytest.approx(-there.estimate)
    assert back.low == pytest.approx(-there.high)


@given(control=arm(most=10_000), other=arm(most=10_000))
def test_more_of_the_same_is_surer(control: Arm, other: Arm) -> None:
    once = difference(control, other)
    assume(once is not None)
    twice = difference(*(Arm(each.name, 2 * each.subjects, 2 * each.successes) for each in (control, other)))
    assert once is not None
    assert twice is not None
    assert twice.high - twice.low < once.high - once.low or (once.low, once.high) == (-1, 1)


@given(control=arm(), other=arm())
def test_lift_and_difference_have_one_sign(control: Arm, other: Arm) -> None:
    apart, gain = difference(control, other), lift(control, other)
    assert (apart is None) == (gain is None)
    if apart is not None and gain is not None:
        assert (apart.estimate > 0) == (gain.estimate > 0)
        assert gain.low <= gain.estimate <= gain.high


@given(statistic=st.floats(0.01, 60), freedom=st.integers(1, 12))
def test_the_tail_of_chi_square_is_the_integral_of_its_density(statistic: float, freedom: int) -> None:
    """Simpson's rule over the root of the variable, whose density has no pole."""
    root, top, cells = math.sqrt(statistic), 40.0, 4_000
    step = (top - root) / cells
    scale = 2 ** (1 - freedom / 2) / math.gamma(freedom / 2)

    def density(x: float) -> float:
        return scale * x ** (freedom - 1) * math.exp(-x * x / 2)

    inner = math.fsum((4 if i % 2 else 2) * density(root + i * step) for i in range(1, cells))
    expected = (density(root) + inner + density(top)) * step / 3
    assert chi_square_tail(statistic, freedom) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(counts=st.lists(st.integers(1, 10_000), min_size=2, max_size=5), unit=st.floats(0.1, 50))
def test_counts_that_are_the_weights_fit_them(counts: list[int], unit: float) -> None:
    arms = [Arm(f"arm{number}", count, 0) for number, count in enumerate(counts)]
    ratio = sample_ratio(arms, {each.name: each.subjects * unit for each in arms})
    assert ratio.p_value == pytest.approx(1, abs=1e-6)
    assert not ratio.suspicious
