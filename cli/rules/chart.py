"""Charts for a terminal: columns, bars and lines, drawn with block characters."""

from collections.abc import Sequence

HEIGHT = 8
LABEL = 9
"""The width of the labels, up to 9,999,999."""
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def bar(value: int, most: int, width: int) -> str:
    """A bar; `width` characters stand for `most`. A value above zero has at least one."""
    return "█" * max(1, round(width * value / most)) if value else ""


def line(values: Sequence[int], width: int, beside: Sequence[int] = ()) -> str:
    """The values as one line of at most `width` columns; each column is the sum of one or more values. It has the scale
    of a line `beside` it too."""
    sums, _ = _sums(values, width)
    top = max([*sums, *_sums(beside, width)[0]], default=0)
    return "".join(_EIGHTHS[max(1, round(total * 8 / top)) if total else 0] for total in sums)


def _sums(values: Sequence[int], width: int) -> tuple[list[int], int]:
    each = max(1, -(-len(values) // max(1, width)))
    return [sum(values[start : start + each]) for start in range(0, len(values), each)], each


def curve(values: Sequence[float]) -> list[str]:
    """The lines of a chart of a quantity over time: a column for each value, with labels as `columns` has."""
    top = max(values, default=0.0)
    eighths = [max(1, round(value * HEIGHT * 8 / top)) if value > 0 else 0 for value in values]
    return _rows(eighths, f"{top:,.4g}")


def columns(values: Sequence[int], width: int) -> tuple[list[str], int]:
    """The lines of the chart, and how many values each column adds up to fit `width`.

    The top and the bottom line have labels. A value above zero has at least an eighth of a character.
    """
    sums, each = _sums(values, width)
    top = max(sums, default=0)
    eighths = [max(1, round(total * HEIGHT * 8 / top)) if total else 0 for total in sums]
    return _rows(eighths, f"{top:,}"), each


def _rows(eighths: Sequence[int], top: str) -> list[str]:
    """Columns of these heights in eighths of a character, the highest row first."""
    lines = []
    for row in range(HEIGHT - 1, -1, -1):
        label = top if row == HEIGHT - 1 else "0" if row == 0 else ""
        blocks = "".join(_EIGHTHS[min(8, max(0, height - row * 8))] for height in eighths)
        lines.append(f"{label:>{LABEL}} ┤{blocks}".rstrip())
    return lines
