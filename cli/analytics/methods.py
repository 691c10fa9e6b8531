"""From rows of counts to answers, for the questions whose last step is no SQL. Pure.

Each method takes the rows of its question and the values of its variables.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from cli.analytics import attribution, experiments
from cli.analytics.attribution import Path
from cli.analytics.experiments import Arm, Interval
from cli.analytics.tables import AnswerTable
from schemas.errors import UserError

Values = Mapping[str, str]


class UnfitSetting(UserError):
    """A setting does not fit the rows; the message says what does."""


def experiment_results(found: AnswerTable, values: Values) -> AnswerTable:
    """From (trigger, variant, users, successes): rates, posterior, and differences from the control."""
    rows: list[tuple[Any, ...]] = []
    for trigger, arms in _experiments(found):
        control = _control(arms, values["control"])
        others = max(1, len(arms) - 1)  # the bounds of all differences hold together (Bonferroni)
        for arm, belief in zip(arms, experiments.beliefs(arms), strict=True):
            apart = None if arm is control else experiments.difference(control, arm, experiments.ALPHA / others)
            rates = (_percent(arm.rate), _percent(belief.low), _percent(belief.high))
            rows.append(
                (trigger, arm.name, arm.subjects, arm.successes, *rates, round(belief.best, 4), *_bounds(apart),
                 _verdict(arm, control, apart))
            )  # fmt: skip
    columns = "trigger variant users successes rate_pct low_pct high_pct best diff_pct diff_low_pct diff_high_pct"
    return AnswerTable([*columns.split(), "verdict"], rows)


def experiment_by_day(found: AnswerTable, values: Values) -> AnswerTable:
    """From (trigger, variant, users, successes, day): each difference from the control as it stood on each day."""
    rows: list[tuple[Any, ...]] = []
    for trigger, group in groupby(found.rows, key=lambda row: row[0]):
        sums: dict[str, Arm] = {}
        for day, of_day in groupby(sorted(group, key=lambda row: row[4]), key=lambda row: row[4]):
            for _, variant, users, successes, _ in of_day:
                before = sums.get(variant, Arm(variant, 0, 0))
                sums[variant] = Arm(variant, before.subjects + users, before.successes + successes)
            rows.extend(_differences(trigger, day, sums, values["control"]))
    return AnswerTable(["trigger", "day", "variant", "users", "diff_pct", "diff_low_pct", "diff_high_pct"], rows)


def _differences(trigger: str, day: Any, sums: Mapping[str, Arm], name: str) -> Iterator[tuple[Any, ...]]:
    arms = [sums[variant] for variant in sorted(sums)]
    if len(arms) < 2 or (name and name not in sums):
        return
    control = _control(arms, name)
    for arm in arms:
        if arm is not control:
            apart = experiments.difference(control, arm, experiments.ALPHA / (len(arms) - 1))
            yield trigger, day, arm.name, control.subjects + arm.subjects, *_bounds(apart)


def sample_ratios(found: AnswerTable, values: Values) -> AnswerTable:
    """From (trigger, variant, users, successes): whether users are divided as the weights say."""
    rows: list[tuple[Any, ...]] = []
    for trigger, found_arms in _experiments(found):
        weights = _weights(values["weights"], found_arms)
        arms = _with_empty(found_arms, weights)
        ratio = experiments.sample_ratio(arms, weights)
        total, whole = sum(arm.subjects for arm in arms), sum(weights[arm.name] for arm in arms)
        verdict = "unknown" if len(arms) < 2 else "does not fit" if ratio.suspicious else "fits"
        for arm in arms:
            wanted = round(total * weights[arm.name] / whole, 1)
            rows.append(
                (trigger, arm.name, arm.subjects, wanted, round(ratio.statistic, 3), _rounded(ratio.p_value), verdict)
            )
    return AnswerTable(["trigger", "variant", "users", "expected", "chi_square", "p_value", "verdict"], rows)


def holdout_lifts(found: AnswerTable, _values: Values) -> AnswerTable:
    """From (trigger, arm, users, converted): what the mails of each trigger add."""
    rows: list[tuple[Any, ...]] = []
    for trigger, arms in _experiments(found):
        by_name = {arm.name: arm for arm in arms}
        held, mailed = (by_name.get(name, Arm(name, 0, 0)) for name in ("held out", "mailed"))
        lift = experiments.lift(held, mailed)
        added = round((mailed.rate - held.rate) * mailed.subjects, 1) if lift else None
        rates = (_percent(mailed.rate), _percent(held.rate))
        verdict = "too few yet" if lift is None else "works" if lift.low > 0 else "harms" if lift.high < 0 else "open"
        rows.append((trigger, mailed.subjects, held.subjects, *rates, *_bounds(lift), added, verdict))
    columns = "trigger mailed held_out mailed_pct held_out_pct lift_pct lift_low_pct lift_high_pct added verdict"
    return AnswerTable(columns.split(), rows)


def credits(found: AnswerTable, _values: Values) -> AnswerTable:
    """From (touches, won, lost, lists of decayed): the conversions that each model credits to each campaign."""
    paths = [
        Path(tuple(touches), won, lost, tuple(map(sum, zip(*decayed, strict=True))))
        for touches, won, lost, decayed in found.rows
    ]
    by_model = {name: model(paths) for name, model in attribution.MODELS.items()}
    markov = by_model["markov"]
    campaigns = sorted({touch for path in paths for touch in path.touches}, key=lambda each: (-markov[each], each))
    rows = [(each, *(round(credit.get(each, 0.0), 1) for credit in by_model.values())) for each in campaigns]
    return AnswerTable(["campaign", *by_model], rows)


METHODS: dict[str, Callable[[AnswerTable, Values], AnswerTable]] = {
    "experiment_results": experiment_results,
    "experiment_by_day": experiment_by_day,
    "sample_ratios": sample_ratios,
    "holdout_lifts": holdout_lifts,
    "credits": credits,
}
"""The methods by the name that the head of a question gives."""


def _experiments(found: AnswerTable) -> Iterator[tuple[str, list[Arm]]]:
    for trigger, rows in groupby(found.rows, key=lambda row: row[0]):
        yield str(trigger), [Arm(*row[1:4]) for row in rows]


def _control(arms: Sequence[Arm], name: str) -> Arm:
    """The arm of that name; without one the first."""
    if not name:
        return arms[0]
    for arm in arms:
        if arm.name == name:
            return arm
    raise UnfitSetting(f"setting control: no variant {name!r}; there are {', '.join(arm.name for arm in arms)}")


def _weights(text: str, arms: Sequence[Arm]) -> dict[str, float]:
    """The weights of a setting such as `plain=50,with_photo=50`; the same for all arms if it is empty."""
    if not text:
        return dict.fromkeys((arm.name for arm in arms), 1.0)
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if not number.strip().replace(".", "", 1).isdecimal():
            raise UnfitSetting(f"setting weights: {part!r} is no name=number, such as plain=50,with_photo=50")
        weights[name.strip()] = float(number)
    if missing := [arm.name for arm in arms if arm.name not in weights]:
        raise UnfitSetting(f"setting weights: no weight for {', '.join(missing)}; name one trigger with --trigger")
    if not any(weights.values()):
        raise UnfitSetting("setting weights: all weights are 0")
    return weights


def _with_empty(arms: Sequence[Arm], weights: Mapping[str, float]) -> list[Arm]:
    """The arms, and those with a weight that nobody was given."""
    empty = weights.keys() - {arm.name for arm in arms}
    return sorted([*arms, *(Arm(name, 0, 0) for name in empty if weights[name])])


def _verdict(arm: Arm, control: Arm, apart: Interval | None) -> str:
    if arm is control:
        return "control"
    if apart is None:
        return "too few yet"
    if not apart.excludes_zero:
        return "open"
    return "better" if apart.low > 0 else "worse"


def _bounds(interval: Interval | None) -> tuple[float | None, ...]:
    return (None, None, None) if interval is None else tuple(map(_percent, interval))


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _rounded(value: float) -> float:
    """Four figures, so that the smallest stay different from 0."""
    return float(f"{value:.4g}")
