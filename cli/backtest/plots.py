"""Plots of a backtest as SVG, with their legends: bars over days, a funnel, a grid of hours, and small lines. Colours
come from the page.

Every text is escaped, and nothing has a style of its own, so a page can forbid both scripts and inline styles.
"""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH = 860
_DAYS_HEIGHT, _AXIS = 190, 22
_ROW, _LABEL, _FIGURE = 26, 190, 130
_CELL, _DAY_LABEL = 32, 48
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SHADES = 5
_LEGEND, _MARK, _LETTER = 32, 12, 7
"""The height of a legend, the side of a mark, and about the width of a letter."""
_LINE_WIDTH, _LINE_HEIGHT = 160, 24


class Column(NamedTuple):
    """One column over time: what it stands for, its value, and the value of the old rules, if there are any."""

    label: str
    value: int
    old: int | None = None


class FunnelRow(NamedTuple):
    """How many were asked at a gate, and how many it stopped or held."""

    name: str
    asked: int
    stopped: int


def day_bars(columns: Sequence[Column]) -> Markup:
    """Columns over time; what the old rules sent is a line above or inside of each."""
    top = max((max(each.value, each.old or 0) for each in columns), default=0) or 1
    room = (WIDTH - _LABEL / 3) / max(1, len(columns))
    parts = [_grid_line(top, _AXIS), _grid_line(top // 2, _DAYS_HEIGHT - (_DAYS_HEIGHT - _AXIS) * (top // 2) / top)]
    for number, each in enumerate(columns):
        x, height = _LABEL / 3 + number * room, (_DAYS_HEIGHT - _AXIS) * each.value / top
        said = f"{each.label}: {each.value:,}" + ("" if each.old is None else f" (old rules: {each.old:,})")
        parts.append(_rect("bar", x, _DAYS_HEIGHT - height, max(1.0, room * 0.8), height, said))
        if each.old is not None:
            y = _DAYS_HEIGHT - (_DAYS_HEIGHT - _AXIS) * each.old / top
            parts.append(_rect("old", x, y - 1, max(1.0, room * 0.8), 2, said))
    if columns:
        parts.append(_text("", _LABEL / 3, _DAYS_HEIGHT + 16, columns[0].label))
        parts.append(_text("end", WIDTH, _DAYS_HEIGHT + 16, columns[-1].label))
    return _svg("Sends over time", WIDTH, _DAYS_HEIGHT + _AXIS, parts)


def _grid_line(value: int, y: float) -> Markup:
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_n(_LABEL / 3), WIDTH, _n(y), _n(y))
    return line + _text("end", _LABEL / 3 - 6, y + 4, f"{value:,}")


def funnel(rows: Sequence[FunnelRow]) -> Markup:
    """One bar for each gate: what passed, and what it stopped or held."""
    most = max((row.asked for row in rows), default=0) or 1
    room = WIDTH - _LABEL - _FIGURE
    parts = []
    for number, row in enumerate(rows):
        y, passed = number * _ROW, room * (row.asked - row.stopped) / most
        parts.append(_text("end", _LABEL - 8, y + 17, row.name))
        said = f"{row.name}: {row.asked:,} asked, {row.stopped:,} stopped or held"
        parts.append(_rect("bar", _LABEL, y + 4, passed, _ROW - 8, said))
        parts.append(_rect("stopped", _LABEL + passed, y + 4, room * row.stopped / most, _ROW - 8, said))
        figure = f"{row.asked - row.stopped:,}" + (f"  −{row.stopped:,}" if row.stopped else "")
        parts.append(_text("", _LABEL + room * row.asked / most + 8, y + 17, figure))
    height = max(1, len(rows)) * _ROW
    parts += _legend(_LABEL, height, [("bar", "passed"), ("stopped", "stopped or held (−)")])
    return _svg("Funnel by gate", WIDTH, height + _LEGEND, parts)


def bars(title: str, rows: Sequence[tuple[str, int]]) -> Markup:
    """A horizontal bar for each row, with its value."""
    most = max((value for _, value in rows), default=0) or 1
    room = WIDTH - 2 * _LABEL - _FIGURE
    parts = []
    for number, (name, value) in enumerate(rows):
        y, width = number * _ROW, room * value / most
        parts.append(_text("end", 2 * _LABEL - 8, y + 17, name))
        parts.append(_rect("stopped", 2 * _LABEL, y + 4, max(1.0, width), _ROW - 8, f"{name}: {value:,}"))
        parts.append(_text("", 2 * _LABEL + width + 8, y + 17, f"{value:,}"))
    return _svg(title, WIDTH, max(1, len(rows)) * _ROW, parts)


def hour_grid(hours: Sequence[int]) -> Markup:
    """The 168 hours of a week, in a stronger colour where there are more."""
    most = max(hours, default=0) or 1
    parts = [_text("middle", _DAY_LABEL + (hour + 0.5) * _CELL, 14, f"{hour:02d}") for hour in range(0, 24, 3)]
    for place, count in enumerate(hours):
        day, hour = divmod(place, 24)
        shade = 0 if count == 0 else 1 + count * _SHADES // (most + 1)
        said = f"{_WEEKDAYS[day]} {hour:02d}:00 to {hour:02d}:59: {count:,}"
        cell = _CELL - 2
        parts.append(_rect(f"shade{shade}", _DAY_LABEL + hour * _CELL, 22 + day * 24, cell, 22, said))
    parts += [_text("end", _DAY_LABEL - 8, 38 + day * 24, name) for day, name in enumerate(_WEEKDAYS)]
    height = 22 + 7 * 24
    parts += _legend(_DAY_LABEL, height, _shades(max(hours, default=0)))
    return _svg("Sends by hour of the week", WIDTH, height + _LEGEND, parts)


def _shades(most: int) -> list[tuple[str, str]]:
    """The classes of the colours, each with the counts that it stands for, up to the highest."""
    first = [1 if shade == 0 else -(-shade * (most + 1) // _SHADES) for shade in range(_SHADES + 1)]
    ranges = [(shade, first[shade - 1], first[shade] - 1) for shade in range(1, _SHADES + 1)]
    said = [(f"shade{shade}", f"{low:,}" if low == high else f"{low:,} to {high:,}") for shade, low, high in ranges]
    return [("shade0", "none"), *(each for each, (_, low, high) in zip(said, ranges, strict=True) if low <= high)]


def small_line(values: Sequence[int]) -> Markup:
    """A line without axes, to stand in a table."""
    top = max(values, default=0) or 1
    step = _LINE_WIDTH / max(1, len(values) - 1)
    height = _LINE_HEIGHT - 4
    points = " ".join(
        f"{_n(number * step)},{_n(2 + height - height * value / top)}" for number, value in enumerate(values)
    )
    return _svg(
        "Sends over time", _LINE_WIDTH, _LINE_HEIGHT, [Markup('<polyline class="line" points="{}"/>').format(points)]
    )


def _legend(x: float, y: float, marks: Sequence[tuple[str, str]]) -> list[Markup]:
    """Marks in a row, each a class of the page, and what it stands for."""
    parts = []
    for kind, text in marks:
        parts += [_rect(kind, x, y + 14, _MARK, _MARK, text), _text("", x + _MARK + 6, y + 25, text)]
        x += _MARK + 6 + _LETTER * len(text) + 20
    return parts


def _rect(kind: str, x: float, y: float, width: float, height: float, said: str) -> Markup:
    form = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>')
    return form.format(kind, _n(x), _n(y), _n(width), _n(height), said)


def _text(anchor: str, x: float, y: float, text: str) -> Markup:
    shown = text if len(text) <= 60 else f"{text[:59]}…"
    form = Markup('<text text-anchor="{}" x="{}" y="{}">{}</text>')
    return form.format(anchor or "start", _n(x), _n(y), shown)


def _svg(title: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    form = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">')
    return form.format(title, _n(width), _n(height), _n(width), _n(height)) + Markup("").join(parts) + Markup("</svg>")


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
