"""An answer drawn in a terminal: bars, lines over time, and intervals, with block characters."""

from collections.abc import Iterator, Sequence

from cli.analytics.questions import PlotSpec
from cli.analytics.series import PlotPoint, points, series
from cli.analytics.tables import AnswerTable, cell_text

MOST_BARS = 24
MOST_LINES = 8
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_PARTS = " ▏▎▍▌▋▊▉█"


def chart(answer: AnswerTable, plot: PlotSpec, width: int) -> list[str]:
    """The lines of the plot, none wider than `width`; one that says so where there is nothing to draw."""
    lines = list(_DRAWN[plot.kind](answer, plot, width))
    return lines or ["nothing to draw"]


def _bars(answer: AnswerTable, plot: PlotSpec, width: int) -> Iterator[str]:
    found = points(answer, plot)
    most = max((point.y for point in found), default=0)
    shown = found[:MOST_BARS]
    labels, figures = [point.label for point in shown], [cell_text(point.y) for point in shown]
    room = max(8, width - _widest(labels) - _widest(figures) - 4)
    for point, label, figure in zip(shown, labels, figures, strict=True):
        eighths = max(1, round(point.y / most * room * 8)) if point.y > 0 else 0
        bar = "█" * (eighths // 8) + _PARTS[eighths % 8].strip()
        yield f"{label:>{_widest(labels)}} ▕{bar:<{room}} {figure:>{_widest(figures)}}"
    yield from _rest(len(found) - len(shown), "rows")


def _lines(answer: AnswerTable, plot: PlotSpec, width: int) -> Iterator[str]:
    found = series(answer, plot)
    if not found:
        return
    shown = found[:MOST_LINES]
    names = [each.name for each in shown]
    tops = [cell_text(max((y for y in each.values if y is not None), default=0)) for each in shown]
    room = max(8, width - _widest(names) - _widest(tops) - 8)
    top = max((y for each in shown for y in each.values if y is not None), default=0)
    for each, name, highest in zip(shown, names, tops, strict=True):
        columns = _means(each.values, room)
        blocks = "".join(" " if y is None else _EIGHTHS[max(1, round(y / top * 8)) if y > 0 else 0] for y in columns)
        yield f"{name:>{_widest(names)}} ▕{blocks}▏ max {highest:>{_widest(tops)}}"
    first, last = cell_text(found[0].places[0]), cell_text(found[0].places[-1])
    length = len(_means(found[0].values, room))
    yield f"{'':>{_widest(names)}}  {first} {last:>{max(1, length - len(first) - 1)}}"
    yield from _rest(len(found) - len(shown), "lines")


def _intervals(answer: AnswerTable, plot: PlotSpec, width: int) -> Iterator[str]:
    found = [point for point in points(answer, plot) if point.low is not None and point.high is not None]
    if not found:
        return
    low = min(0.0, *(point.low for point in found if point.low is not None))
    high = max(0.0, *(point.high for point in found if point.high is not None))
    labels = _widest([point.label for point in found])
    figures = [f"{cell_text(point.y)}  {cell_text(point.low)} to {cell_text(point.high)}" for point in found]
    room = max(16, width - labels - _widest(figures) - 4)
    step = (high - low) / (room - 1) or 1.0
    for point, figure in zip(found[-MOST_BARS:], figures[-MOST_BARS:], strict=True):
        yield f"{point.label:>{labels}} ▕{_whisker(point, low, step, room)}▏ {figure}"


def _whisker(point: PlotPoint, low: float, step: float, room: int) -> str:
    cells = [" "] * room
    assert point.low is not None
    assert point.high is not None
    left, right = round((point.low - low) / step), round((point.high - low) / step)
    cells[left : right + 1] = "─" * (right + 1 - left)
    cells[round(-low / step)] = "│" if cells[round(-low / step)] == " " else "┼"
    cells[round((point.y - low) / step)] = "●"
    return "".join(cells)


def _means(values: Sequence[float | None], room: int) -> list[float | None]:
    """At most `room` values, each the mean of one or more."""
    each = max(1, -(-len(values) // room))
    groups = ([y for y in values[start : start + each] if y is not None] for start in range(0, len(values), each))
    return [sum(group) / len(group) if group else None for group in groups]


def _widest(texts: Sequence[str]) -> int:
    return max(map(len, texts), default=0)


def _rest(number: int, what: str) -> Iterator[str]:
    if number > 0:
        yield f"and {number} more {what}, in the table"


_DRAWN = {"bars": _bars, "lines": _lines, "intervals": _intervals}
KINDS = frozenset(_DRAWN)
"""The kinds of plots, here and in `pictures`."""
