"""An answer drawn as a PNG file with matplotlib, which the extra `plots` brings."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from cli.analytics.charts import MOST_BARS, MOST_LINES
from cli.analytics.questions import PlotSpec, Question
from cli.analytics.series import bands, points, series
from cli.analytics.tables import AnswerTable, cell_text
from schemas.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED = "#1f2933", "#9aa5b1"
_COLOURS = ("#1f77b4", "#d1495b", "#2e8b57", "#edae49", "#7b5ea7", "#00798c", "#8c564b", "#5f6b77")
"""Apart in brightness too, for readers who see few colours."""


class NoPlotLibrary(UserError):
    """Matplotlib is not installed."""


def write_png(answer: AnswerTable, question: Question, file: Path) -> None:
    """Writes the plot of an answer. Raises NoPlotLibrary, and OSError if the file cannot be written."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise NoPlotLibrary("--png needs matplotlib: pip install 'ebbtide[plots]', or use --plot") from None
    draw = _drawing(answer, question.plot)
    height = 4.2 if draw in (_lines, _bands) else 1.2 + 0.32 * min(MOST_BARS, max(6, len(answer.rows)))
    figure = Figure(figsize=(9, height), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(question.asks, loc="left", color=_INK, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_INK, labelsize=9)
    with rc_context({"date.converter": "concise"}):
        draw(axes, answer, question.plot)
    figure.savefig(file, format="png", metadata={"Software": None})


def _drawing(answer: AnswerTable, plot: PlotSpec) -> Callable[["Axes", AnswerTable, PlotSpec], None]:
    """What draws the plot: intervals over time are bands."""
    over_time = any(isinstance(value, date) for value in answer.column(plot.x))
    return _bands if plot.kind == "intervals" and over_time else _DRAWN[plot.kind]


def _bars(axes: "Axes", answer: AnswerTable, plot: PlotSpec) -> None:
    found = points(answer, plot)[:MOST_BARS]
    bars = axes.barh([f"{place}" for place in range(len(found))], [point.y for point in found], color=_COLOURS[0])
    axes.bar_label(bars, [cell_text(point.y) for point in found], padding=4, color=_INK, fontsize=9)
    axes.set_yticks(range(len(found)), [point.label for point in found])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(_words(plot.y), color=_INK)


def _lines(axes: "Axes", answer: AnswerTable, plot: PlotSpec) -> None:
    for number, line in enumerate(series(answer, plot)[:MOST_LINES]):
        values = [float("nan") if y is None else y for y in line.values]
        axes.plot(list(line.places), values, label=line.name, color=_COLOURS[number], linewidth=1.6)
    axes.set_ylim(bottom=0)
    _over_time(axes, _words(plot.y) if plot.by else "")


def _bands(axes: "Axes", answer: AnswerTable, plot: PlotSpec) -> None:
    for number, band in enumerate(bands(answer, plot)[:MOST_LINES]):
        colour, places = _COLOURS[number], list(band.places)
        lows, highs = ([bound or 0.0 for bound in bounds] for bounds in zip(*(p[2:] for p in band.points), strict=True))
        axes.fill_between(places, lows, highs, color=colour, alpha=0.18, linewidth=0)
        axes.plot(places, [point.y for point in band.points], label=band.name, color=colour, linewidth=1.6)
    axes.axhline(0, color=_INK, linewidth=1)
    _over_time(axes, _words(plot.y))


def _over_time(axes: "Axes", label: str) -> None:
    axes.set_ylabel(label, color=_INK)
    axes.grid(axis="y", color=_MUTED, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))


def _intervals(axes: "Axes", answer: AnswerTable, plot: PlotSpec) -> None:
    found = [each for each in points(answer, plot) if each.low is not None and each.high is not None][-MOST_BARS:]
    for place, point in enumerate(found):
        assert point.low is not None
        assert point.high is not None
        axes.plot([point.low, point.high], [place, place], color=_COLOURS[0], linewidth=2)
        axes.plot([point.y], [place], "o", color=_COLOURS[0])
    axes.axvline(0, color=_MUTED, linewidth=1)
    axes.set_yticks(range(len(found)), [point.label for point in found])
    axes.invert_yaxis()
    axes.set_xlabel(_words(plot.y), color=_INK)


def _words(column: str) -> str:
    return column.replace("_pct", " (%)").replace("_", " ")


_DRAWN = {"bars": _bars, "lines": _lines, "intervals": _intervals}
