"""Charts for a terminal: columns, bars and lines, drawn with the block characters of eighths."""

from collections.abc import Sequence

HEIGHT = 8
LABEL = 9
"""The room for what a line means, up to 9,999,999."""
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def bar(value: int, most: int, width: int) -> str:
    """A bar as long beside `width` as the value is beside `most`; anything above zero shows."""
    return "█" * max(1, round(width * value / most)) if value else ""


def line(values: Sequence[int], width: int) -> str:
    """The values as one line of at most `width` columns, each of which adds up as many values as it must."""
    sums, _ = _sums(values, width)
    top = max(sums, default=0)
    return "".join(_EIGHTHS[max(1, round(total * 8 / top)) if total else 0] for total in sums)


def _sums(values: Sequence[int], width: int) -> tuple[list[int], int]:
    each = max(1, -(-len(values) // max(1, width)))
    return [sum(values[start : start + each]) for start in range(0, len(values), each)], each


def columns(values: Sequence[int], width: int) -> tuple[list[str], int]:
    """The chart's lines, and how many values each column adds up so that it fits `width`.

    Beside the top and the bottom line stands what they mean. Anything above zero shows at least an eighth.
    """
    sums, each = _sums(values, width)
    top = max(sums, default=0)
    eighths = [max(1, round(total * HEIGHT * 8 / top)) if total else 0 for total in sums]
    lines = []
    for row in range(HEIGHT - 1, -1, -1):
        label = f"{top:,}" if row == HEIGHT - 1 else "0" if row == 0 else ""
        blocks = "".join(_EIGHTHS[min(8, max(0, height - row * 8))] for height in eighths)
        lines.append(f"{label:>{LABEL}} ┤{blocks}".rstrip())
    return lines, each
