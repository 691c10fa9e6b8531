"""What the counts of an experiment say: posterior, interval that may be looked at daily, sample ratio. Pure.

A subject is one send or one user, a success is what was hoped for from it. Subjects must not depend on each other, so
where a user gets several mails, users are the better subjects.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

ALPHA = 0.05
TIGHTEST_AT = 5_000
"""The number of subjects at which the interval is narrowest beside a fixed one. Chosen before anybody sees data: an
interval that is tuned on what it measures promises nothing."""
ENOUGH = 10
"""Successes and failures of each arm below which no interval is given: its theory is one of many subjects."""
SUSPICIOUS = 0.001
"""A sample ratio less likely than this is a fault of the assignment or of the counting, and no chance."""

_POINTS = 1_024
_SPREAD = 9.0


class Arm(NamedTuple):
    """A variant and its counts."""

    name: str
    subjects: int
    successes: int

    @property
    def rate(self) -> float:
        """Successes a subject; 0 without subjects."""
        return self.successes / self.subjects if self.subjects else 0.0

    @property
    def smoothed_rate(self) -> float:
        """The rate with half a success and half a failure more, never 0 or 1."""
        return (self.successes + 0.5) / (self.subjects + 1)


class Belief(NamedTuple):
    """The posterior of an arm's rate: its mean, the central interval, and how likely the arm is the best."""

    mean: float
    low: float
    high: float
    best: float


class Interval(NamedTuple):
    """An estimate and its bounds."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether both bounds lie on one side of 0."""
        return self.low > 0 or self.high < 0


class SampleRatio(NamedTuple):
    """Pearson's statistic of the counts against the declared weights, and how likely so much or more is by chance."""

    statistic: float
    p_value: float

    @property
    def suspicious(self) -> bool:
        """Whether the counts do not fit the weights."""
        return self.p_value < SUSPICIOUS


class _Posterior:
    """Beta(1 + successes, 1 + failures) of a uniform prior, as masses at evenly spaced points.

    Gelman et al., Bayesian Data Analysis, 3rd edition, section 2.4. Points out of reach of nine standard deviations
    have no mass that a float shows.
    """

    def __init__(self, arm: Arm) -> None:
        a, b = 1 + arm.successes, 1 + arm.subjects - arm.successes
        self.mean = a / (a + b)
        spread = _SPREAD * math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
        self._low = max(0.0, self.mean - spread)
        self._step = (min(1.0, self.mean + spread) - self._low) / _POINTS
        points = [self._low + (i + 0.5) * self._step for i in range(_POINTS)]
        top = _log_density(min(max((a - 1) / max(1, a + b - 2), points[0]), points[-1]), a, b)
        weights = [math.exp(_log_density(x, a, b) - top) for x in points]
        total = math.fsum(weights)
        self.masses = [weight / total for weight in weights]
        self._below = [0.0, *accumulate(self.masses)]

    @property
    def edges(self) -> list[float]:
        """The bounds of the cells, in which the density is taken as constant."""
        return [self._low + i * self._step for i in range(_POINTS + 1)]

    def below(self, x: float) -> float:
        """The probability of a rate below x."""
        place = (x - self._low) / self._step
        if place <= 0:
            return 0.0
        if place >= _POINTS:
            return 1.0
        cell = int(place)
        return self._below[cell] + (place - cell) * self.masses[cell]

    def quantile(self, share: float) -> float:
        """The rate that the true one is below with this probability."""
        cell = min(bisect_right(self._below, share) - 1, _POINTS - 1)
        rest = (share - self._below[cell]) / self.masses[cell] if self.masses[cell] else 0.0
        return self._low + (cell + rest) * self._step


def _log_density(x: float, a: float, b: float) -> float:
    return (a - 1) * math.log(x) + (b - 1) * math.log1p(-x)


def beliefs(arms: Sequence[Arm], alpha: float = ALPHA) -> list[Belief]:
    """The posterior of each arm's rate, with the probability that it is the highest of all."""
    posteriors = [_Posterior(arm) for arm in arms]
    edges = sorted({edge for posterior in posteriors for edge in posterior.edges})
    below = [[posterior.below(edge) for edge in edges] for posterior in posteriors]
    return [
        Belief(own.mean, own.quantile(alpha / 2), own.quantile(1 - alpha / 2), _best(place, below))
        for place, own in enumerate(posteriors)
    ]


def _best(place: int, below: Sequence[Sequence[float]]) -> float:
    """The probability that the arm at this place is the best; `below` holds each arm's distribution at the same edges.

    The edges of all arms count, since one arm may have its whole mass within a cell of another. Between two edges the
    distributions are linear, and the trapezoidal rule is exact for two arms.
    """
    others = [1.0] * len(below[0])
    for each in (*below[:place], *below[place + 1 :]):
        others = [product * value for product, value in zip(others, each, strict=True)]
    return math.fsum(
        (own_high - own_low) * (low + high) / 2
        for (own_low, own_high), (low, high) in zip(pairwise(below[place]), pairwise(others), strict=True)
    )


def difference(control: Arm, arm: Arm, alpha: float = ALPHA, tightest_at: int = TIGHTEST_AT) -> Interval | None:
    """The arm's rate less the control's, with bounds that hold at all times together: look as often as you like.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (Time-uniform central limit
    theory, Annals of Statistics 52, 2024, theorem 2.2) over the influence values of a difference of means. None while
    an arm has less than `ENOUGH` successes or failures.
    """
    if not (_has_enough(control) and _has_enough(arm)):
        return None
    shares = _shares(control, arm)
    variance = sum(r * (1 - r) / share for r, share in zip(_rates(control, arm), shares, strict=True))
    radius = _radius(variance, control.subjects + arm.subjects, alpha, tightest_at)
    estimate = arm.rate - control.rate
    return Interval(estimate, max(-1.0, estimate - radius), min(1.0, estimate + radius))


def lift(control: Arm, arm: Arm, alpha: float = ALPHA, tightest_at: int = TIGHTEST_AT) -> Interval | None:
    """The arm's rate as a gain on the control's (0.1 is a tenth more), with bounds that hold at all times together.

    The same sequence over the logarithm of the ratio, by the delta method. None while an arm has less than `ENOUGH`
    successes or failures.
    """
    if not (_has_enough(control) and _has_enough(arm)):
        return None
    shares = _shares(control, arm)
    variance = sum((1 - r) / (r * share) for r, share in zip(_rates(control, arm), shares, strict=True))
    radius = _radius(variance, control.subjects + arm.subjects, alpha, tightest_at)
    ratio = math.log(arm.rate / control.rate)
    return Interval(*(math.expm1(bound) for bound in (ratio, ratio - radius, ratio + radius)))


def _has_enough(arm: Arm) -> bool:
    return min(arm.successes, arm.subjects - arm.successes) >= ENOUGH


def _shares(control: Arm, arm: Arm) -> tuple[float, float]:
    total = control.subjects + arm.subjects
    return control.subjects / total, arm.subjects / total


def _rates(control: Arm, arm: Arm) -> tuple[float, float]:
    return control.smoothed_rate, arm.smoothed_rate


def _radius(variance: float, subjects: int, alpha: float, tightest_at: int) -> float:
    """The half width of the sequence; its rho is the paper's equation for the intended number of subjects."""
    odds = -2 * math.log(alpha)
    scaled = subjects * (odds + math.log(odds + 1)) / tightest_at
    return math.sqrt(variance * 2 * (scaled + 1) / (subjects * scaled) * math.log(math.sqrt(scaled + 1) / alpha))


def sample_ratio(arms: Sequence[Arm], weights: Mapping[str, float]) -> SampleRatio:
    """Whether the arms have the shares of subjects that their weights declare (Pearson's chi-square test).

    Raises KeyError for an arm without a weight. Fabijan et al., Diagnosing Sample Ratio Mismatch, KDD 2019.
    """
    total, whole = sum(arm.subjects for arm in arms), sum(weights[arm.name] for arm in arms)
    if len(arms) < 2 or not total:
        return SampleRatio(0.0, 1.0)
    wanted = [total * weights[arm.name] / whole for arm in arms]
    if any(count == 0 for count in wanted):  # subjects of an arm that gets none
        return SampleRatio(math.inf, 0.0)
    statistic = sum((arm.subjects - count) ** 2 / count for arm, count in zip(arms, wanted, strict=True))
    return SampleRatio(statistic, chi_square_tail(statistic, len(arms) - 1))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """How likely a chi-square variable of so many degrees of freedom is at least the statistic.

    The recurrence of the incomplete gamma function in steps of one (DLMF 8.8.2), from erfc or exp.
    """
    half = statistic / 2
    if half == 0:
        return 1.0
    at = 0.5 if freedom % 2 else 1.0
    tail = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    while at < freedom / 2:
        tail += math.exp(at * math.log(half) - half - math.lgamma(at + 1))
        at += 1
    return min(1.0, tail)
