"""Experiments by known figures, and by simulation: what the intervals promise, they keep under daily looks."""

import math

import numpy as np
import pytest

from cli.analytics.experiments import Arm, beliefs, chi_square_tail, difference, lift, sample_ratio

RUNS = 400
LOOKS = range(100, 6_001, 100)
"""Subjects of each arm at each look."""


def successes(chance: np.random.Generator, rate: float) -> np.ndarray:
    """The successes of an arm up to each look, in each run."""
    return chance.binomial(LOOKS.step, rate, size=(RUNS, len(LOOKS))).cumsum(axis=1)


def looks(plain: np.ndarray, photo: np.ndarray, run: int) -> list[tuple[Arm, Arm]]:
    """The counts that somebody sees who looks at every hundredth subject."""
    return [
        (Arm("plain", subjects, int(plain[run, look])), Arm("photo", subjects, int(photo[run, look])))
        for look, subjects in enumerate(LOOKS)
    ]


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_without_a_difference_at_most_one_experiment_in_twenty_ever_claims_one(rate: float) -> None:
    """False positives under peeking: the first interval without 0 of 60 looks counts. The naive one fails."""
    chance = np.random.default_rng(20260301)
    plain, photo = successes(chance, rate), successes(chance, rate)
    claims = {"difference": 0, "lift": 0, "naive": 0}
    for run in range(RUNS):
        seen = looks(plain, photo, run)
        claims["difference"] += any((found := difference(*arms)) and found.excludes_zero for arms in seen)
        claims["lift"] += any((found := lift(*arms)) and found.excludes_zero for arms in seen)
        claims["naive"] += any(naive_claim(*arms) for arms in seen)
    assert claims["difference"] <= 0.05 * RUNS
    assert claims["lift"] <= 0.05 * RUNS
    assert claims["naive"] > 0.2 * RUNS


def naive_claim(plain: Arm, photo: Arm) -> bool:
    """The z-test of a fixed number of subjects at 5 %, asked at any time."""
    pooled = (plain.successes + photo.successes) / (plain.subjects + photo.subjects)
    error = math.sqrt(pooled * (1 - pooled) * (1 / plain.subjects + 1 / photo.subjects))
    return error > 0 and abs(photo.rate - plain.rate) > 1.96 * error


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.07), (0.2, 0.2), (0.4, 0.35)])
def test_the_bounds_hold_the_truth_at_all_looks_together(low: float, high: float) -> None:
    chance = np.random.default_rng(20260302)
    plain, photo = successes(chance, low), successes(chance, high)
    misses = sum(
        any(
            (found := difference(*arms)) and not found.low <= high - low <= found.high
            for arms in looks(plain, photo, run)
        )
        for run in range(RUNS)
    )
    assert misses <= 0.05 * RUNS


def test_a_real_difference_is_found() -> None:
    """The price of looking: half more subjects than a fixed test, not ten times as many."""
    chance = np.random.default_rng(20260303)
    plain, photo = successes(chance, 0.10), successes(chance, 0.13)
    found = sum(
        any((each := difference(*arms)) and each.low > 0 for arms in looks(plain, photo, run)) for run in range(RUNS)
    )
    assert found > 0.9 * RUNS


def test_the_posterior_interval_holds_the_rate_as_often_as_it_says() -> None:
    """Rates drawn from the prior: then a Bayesian interval of 95 % has coverage of 95 %."""
    chance = np.random.default_rng(20260304)
    held = 0
    for rate in chance.uniform(size=RUNS):
        [belief] = beliefs([Arm("arm", 300, int(chance.binomial(300, rate)))])
        held += belief.low <= rate <= belief.high
    assert held / RUNS == pytest.approx(0.95, abs=0.025)


def test_an_honest_division_is_hardly_ever_suspected_and_a_lost_twentieth_is() -> None:
    chance = np.random.default_rng(20260305)
    weights = {"plain": 1.0, "photo": 1.0}
    honest = chance.binomial(20_000, 0.5, size=2_000)
    suspected = sum(
        sample_ratio([Arm("plain", int(n), 0), Arm("photo", 20_000 - int(n), 0)], weights).suspicious for n in honest
    )
    assert suspected <= 6  # 2 expected
    assert sample_ratio([Arm("plain", 10_000, 0), Arm("photo", 9_500, 0)], weights).suspicious


def test_unequal_arms_are_compared_too() -> None:
    found = difference(Arm("held out", 1_000, 50), Arm("mailed", 9_000, 900))
    assert found is not None
    assert found.estimate == pytest.approx(0.05)
    assert found.low > 0


def test_few_successes_give_no_interval() -> None:
    assert difference(Arm("plain", 100, 9), Arm("photo", 100, 50)) is None
    assert lift(Arm("plain", 100, 10), Arm("photo", 100, 95)) is None


def test_a_rare_arm_without_weight_does_not_fit() -> None:
    ratio = sample_ratio([Arm("plain", 10, 0), Arm("photo", 1, 0)], {"plain": 1, "photo": 0})
    assert ratio.suspicious


def test_known_quantiles_of_chi_square() -> None:
    """From the tables of the NIST handbook, at 5 %."""
    quantiles = {1: 3.841, 2: 5.991, 3: 7.815, 10: 18.307}
    assert [chi_square_tail(at, freedom) for freedom, at in quantiles.items()] == pytest.approx([0.05] * 4, abs=2e-5)
    assert chi_square_tail(0, 1) == 1


def test_no_data_says_nothing() -> None:
    [plain, _] = beliefs([Arm("plain", 0, 0), Arm("photo", 0, 0)])
    assert plain.best == pytest.approx(0.5, abs=1e-3)
    assert (plain.low, plain.high) == pytest.approx((0.025, 0.975), abs=1e-3)
    assert sample_ratio([Arm("plain", 0, 0), Arm("photo", 0, 0)], {"plain": 1, "photo": 1}).p_value == 1
