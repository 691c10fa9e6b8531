"""The points and lines of a plot, taken from the columns of an answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cli.analytics.questions import PlotSpec
from cli.analytics.tables import AnswerTable, cell_text


class PlotPoint(NamedTuple):
    """A labelled value, with the bounds of its interval if it has one."""

    label: str
    y: float
    low: float | None = None
    high: float | None = None


class Band(NamedTuple):
    """An estimate over time with its bounds."""

    name: str
    places: Sequence[Any]
    points: Sequence[PlotPoint]


class Series(NamedTuple):
    """A line: a value or a gap at each place, the same places for all lines of a plot."""

    name: str
    places: Sequence[Any]
    values: Sequence[float | None]


def points(answer: AnswerTable, plot: PlotSpec) -> list[PlotPoint]:
    """A point for each row that has a value, in the order of the rows."""
    return [
        PlotPoint(_label(row, plot), float(row[plot.y]), _bound(row, plot.low), _bound(row, plot.high))
        for row in answer.records()
        if row[plot.y] is not None
    ]


def series(answer: AnswerTable, plot: PlotSpec) -> list[Series]:
    """A line for each value of `by`, or for each column that y names, the one with the largest sum first.

    A place without a row is 0 for a count and a gap for a share.
    """
    rows = answer.records()
    places = sorted({row[plot.x] for row in rows})
    found: dict[str, dict[Any, float]] = {}
    for row in rows:
        for column in plot.y.split(","):
            name = cell_text(row[plot.by]) if plot.by else column
            if row[column] is not None:
                found.setdefault(name, {})[row[plot.x]] = float(row[column])
    missing = None if plot.y.endswith("_pct") else 0.0
    lines = [Series(name, places, [values.get(place, missing) for place in places]) for name, values in found.items()]
    return sorted(lines, key=lambda line: -sum(y for y in line.values if y is not None))


def bands(answer: AnswerTable, plot: PlotSpec) -> list[Band]:
    """An estimate over time for each value of `by`, where it has bounds."""
    found: dict[str, list[tuple[Any, PlotPoint]]] = {}
    for row in answer.records():
        low, high = _bound(row, plot.low), _bound(row, plot.high)
        if low is not None and high is not None:
            found.setdefault(str(row[plot.by]), []).append((row[plot.x], PlotPoint("", float(row[plot.y]), low, high)))
    return [Band(name, *zip(*pairs, strict=True)) for name, pairs in found.items()]


def _label(row: dict[str, Any], plot: PlotSpec) -> str:
    parts = [cell_text(row[column]) for column in (*plot.by.split(","), plot.x) if column]
    return " ".join(part for part in parts if part)


def _bound(row: dict[str, Any], column: str) -> float | None:
    return None if not column or row[column] is None else float(row[column])
