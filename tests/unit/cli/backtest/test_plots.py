"""Plots of a backtest: what their legends say of colours."""

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from cli.backtest.plots import FunnelRow, funnel, hour_grid

_SAID = re.compile(r"(?:.*: )?([\d,]+)(?: to ([\d,]+))?")


def elements(svg: str, name: str) -> list[ElementTree.Element]:
    return [*ElementTree.fromstring(svg).iter(name)]  # noqa: S314  # ours


def marks(svg: str) -> list[tuple[str, str]]:
    """The class of each rectangle, and what it says."""
    return [(rect.attrib["class"], "".join(rect.itertext())) for rect in elements(svg, "rect")]


@given(st.lists(st.integers(0, 5_000), min_size=168, max_size=168), st.integers(0, 5_000))
def test_the_legend_of_the_hours_has_each_colour_with_the_counts_that_have_it(hours: list[int], most: int) -> None:
    hours = [min(each, most) for each in hours]
    found = marks(hour_grid(hours))
    legend = dict(found[168:])
    assert legend.pop("shade0") == "none"
    ranges = {kind: _SAID.fullmatch(said) for kind, said in legend.items()}
    covered: list[int] = []
    for kind, said in ranges.items():
        assert said is not None
        low, high = (int(each.replace(",", "")) for each in (said[1], said[2] or said[1]))
        covered += range(low, high + 1)
        for (cell, _), count in zip(found[:168], hours, strict=True):
            assert (cell == kind) is (low <= count <= high)
    assert sorted(covered) == list(range(1, max(hours) + 1)), "each count has one colour"


def test_a_bar_of_the_funnel_says_what_passed_and_what_was_stopped_and_its_legend_names_both_colours() -> None:
    svg = funnel([FunnelRow("consent", 1200, 200), FunnelRow("sent", 1000, 0)])
    texts = ["".join(text.itertext()) for text in elements(svg, "text")]
    assert texts == ["consent", "1,000  −200", "sent", "1,000", "passed", "stopped or held (−)"]
    assert marks(svg)[-2:] == [("bar", "passed"), ("stopped", "stopped or held (−)")]
