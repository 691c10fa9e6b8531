"""Answers as tables, CSV and plots."""

import csv
from datetime import date
from pathlib import Path

import pytest

from cli.analytics.charts import chart
from cli.analytics.pictures import write_png
from cli.analytics.questions import PlotSpec, named
from cli.analytics.tables import AnswerTable, cell_text, csv_lines, text_lines

DAYS = [date(2026, 3, day) for day in range(1, 11)]
BY_DAY = AnswerTable(
    ["day", "trigger", "sends"],
    [(day, name, number * factor) for number, day in enumerate(DAYS) for name, factor in (("cart", 10), ("drop", 3))],
)
LINES = PlotSpec.parse("lines x=day y=sends by=trigger")
BARS = PlotSpec.parse("bars x=trigger y=sends")
INTERVALS = PlotSpec.parse("intervals x=trigger y=lift low=low high=high")


def test_numbers_stand_at_the_right_and_nothing_is_a_dash() -> None:
    assert text_lines(AnswerTable(["trigger", "sends", "share"], [("cart", 12345, 0.5), ("drop", 7, None)])) == [
        "trigger   sends  share",
        "cart     12,345    0.5",
        "drop          7      -",
    ]


def test_small_figures_stay_different_from_zero() -> None:
    assert [cell_text(value) for value in (0.00001, 0.0, 1234.5, True, ["a", "b"])] == [
        "1.0e-05", "0", "1,234.5", "yes", "a > b",
    ]  # fmt: skip


def test_csv_reads_back_and_no_text_is_a_formula() -> None:
    lines = list(
        csv_lines(AnswerTable(["touches", "n"], [(["cart", "drop, x"], 1), ("=HYPERLINK(1)", -2), (None, 0.5)]))
    )
    assert list(csv.reader(lines)) == [
        ["touches", "n"], ["cart > drop, x", "1"], ["'=HYPERLINK(1)", "-2"], ["", "0.5"],
    ]  # fmt: skip


def test_lines_have_one_scale_and_the_days_below() -> None:
    drawn = chart(BY_DAY, LINES, 60)
    assert drawn[0].startswith("cart ▕ ▁▂▃▄▄▅▆▇█▏ max 90")
    assert drawn[1].startswith("drop ▕ ▁▁▁▁▁▂▂▂▂▏ max 27")
    assert drawn[2].split() == ["2026-03-01", "2026-03-10"]


def test_more_days_than_columns_become_means() -> None:
    many = AnswerTable(["day", "sends"], [(number, 100) for number in range(1_000)])
    [line, _] = chart(many, PlotSpec.parse("lines x=day y=sends"), 40)
    assert len(line) <= 40
    assert "██" in line


def test_bars_are_as_long_as_their_values() -> None:
    drawn = chart(
        AnswerTable(["trigger", "sends"], [("cart", 40), ("drop", 20), ("none", 0), ("gone", None)]), BARS, 40
    )
    assert [line.count("█") for line in drawn] == [drawn[0].count("█"), drawn[0].count("█") // 2, 0]


@pytest.mark.parametrize("width", [20, 80, 200])
def test_an_interval_is_drawn_around_its_estimate(width: int) -> None:
    found = AnswerTable(["trigger", "lift", "low", "high"], [("cart", 5.0, -5.0, 15.0), ("drop", -5.0, -9.0, -1.0)])
    cart, drop = chart(found, INTERVALS, width)
    assert cart.index("─") < cart.index("┼") < cart.index("●") < cart.rindex("─")
    assert drop.index("●") < drop.index("│")


@pytest.mark.parametrize("plot", [LINES, BARS, INTERVALS])
def test_no_rows_draw_nothing_and_say_so(plot: PlotSpec) -> None:
    columns = ["day", "trigger", "sends", "lift", "low", "high"]
    assert chart(AnswerTable(columns, []), plot, 80) == ["nothing to draw"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sends-by-day", BY_DAY),
        ("cost", AnswerTable(["trigger", "cost"], [("cart", 1.5), ("drop", None)])),
        ("click-rate", AnswerTable(["trigger", "clicked_pct", "low_pct", "high_pct"], [("cart", 5.0, 4.0, 6.0)])),
        ("cost", AnswerTable(["trigger", "cost"], [])),
    ],
)
def test_a_picture_is_a_png(tmp_path: Path, name: str, found: AnswerTable) -> None:
    write_png(found, named(name), tmp_path / "it.png")
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
