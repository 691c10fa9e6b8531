"""From rows of counts to the answers that are no SQL."""

from datetime import date

import pytest

from cli.analytics.methods import METHODS, UnfitSetting
from cli.analytics.tables import AnswerTable

COUNTS = ["trigger", "variant", "users", "successes"]
NO_CONTROL = {"control": ""}


def test_an_experiment_is_compared_with_its_control() -> None:
    rows = [("cart", "plain", 4_000, 400), ("cart", "photo", 4_000, 600), ("cart", "text", 4_000, 390)]
    found = METHODS["experiment_results"](AnswerTable(COUNTS, rows), {"control": "plain"}).records()
    assert [row["verdict"] for row in found] == ["control", "better", "open"]
    assert found[1]["diff_pct"] == 5.0
    assert found[1]["diff_low_pct"] > 0
    assert found[1]["best"] == pytest.approx(1, abs=1e-3)


def test_each_trigger_has_its_own_control() -> None:
    rows = [("cart", "a", 50, 1), ("cart", "b", 50, 2), ("drop", "c", 50, 1)]
    found = METHODS["experiment_results"](AnswerTable(COUNTS, rows), NO_CONTROL).records()
    assert [row["verdict"] for row in found] == ["control", "too few yet", "control"]


def test_an_unknown_control_names_the_variants() -> None:
    with pytest.raises(UnfitSetting, match="there are a, b"):
        METHODS["experiment_results"](AnswerTable(COUNTS, [("cart", "a", 5, 1), ("cart", "b", 5, 1)]), {"control": "c"})


def test_days_add_up() -> None:
    rows = [
        ("cart", variant, 500, successes, date(2026, 3, day))
        for day in (1, 2)
        for variant, successes in (("a", 50), ("b", 100))
    ]
    found = METHODS["experiment_by_day"](AnswerTable([*COUNTS, "day"], rows), NO_CONTROL).records()
    assert [(row["day"].day, row["users"], row["diff_pct"]) for row in found] == [(1, 1_000, 10), (2, 2_000, 10)]
    widths = [row["diff_high_pct"] - row["diff_low_pct"] for row in found]
    assert widths[1] < widths[0]


def test_weights_are_read_and_checked() -> None:
    rows = AnswerTable(COUNTS, [("cart", "a", 900, 0), ("cart", "b", 100, 0)])
    ratios = METHODS["sample_ratios"]
    assert ratios(rows, {"weights": "a=90,b=10"}).column("verdict") == ["fits", "fits"]
    assert ratios(rows, {"weights": ""}).column("verdict") == ["does not fit", "does not fit"]
    for wrong, message in (("a=90", "no weight for b"), ("a=x,b=1", "'a=x'"), ("a=0,b=0", "all weights are 0")):
        with pytest.raises(UnfitSetting, match=message):
            ratios(rows, {"weights": wrong})


def test_a_variant_that_nobody_was_given_does_not_fit_its_weight() -> None:
    rows = AnswerTable(COUNTS, [("cart", "a", 1_000, 0)])
    ratios = METHODS["sample_ratios"]
    found = ratios(rows, {"weights": "a=50,b=50,c=0"}).records()
    assert [(row["variant"], row["users"], row["expected"], row["verdict"]) for row in found] == [
        ("a", 1_000, 500, "does not fit"),
        ("b", 0, 500, "does not fit"),
    ]
    assert ratios(rows, {"weights": ""}).column("verdict") == ["unknown"]


def test_a_holdout_says_what_the_mails_add() -> None:
    rows = [("cart", "held out", 2_000, 100), ("cart", "mailed", 8_000, 800), ("drop", "mailed", 10, 1)]
    found = METHODS["holdout_lifts"](AnswerTable(["trigger", "arm", "users", "converted"], rows), {}).records()
    assert (found[0]["lift_pct"], found[0]["added"], found[0]["verdict"]) == (100.0, 400.0, "works")
    assert found[1]["verdict"] == "too few yet"


def test_credit_is_given_by_every_model() -> None:
    rows = [(["hello", "cart"], 4, 2, [[1.0, 2.0], [0.5, 0.5]]), (["cart"], 6, 0, [[6.0]])]
    found = METHODS["credits"](AnswerTable(["touches", "won", "lost", "decayed"], rows), {})
    assert found.columns == ["campaign", "first", "last", "linear", "time_decay", "markov", "shapley"]
    assert found.rows[0][:5] == ("cart", 6.0, 10.0, 8.0, 8.5)
    assert found.rows[1][:5] == ("hello", 4.0, 0.0, 2.0, 1.5)
