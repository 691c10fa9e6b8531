"""A column chart for a terminal, drawn with the block characters of eighths."""

from collections.abc import Sequence

HEIGHT = 8
LABEL = 9
"""The room for what a line means, up to 9,999,999."""
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def columns(values: Sequence[int], width: int) -> tuple[list[str], int]:
    """The chart's lines, and how many values each column adds up so that it fits `width`.

    Beside the top and the bottom line stands what they mean. Anything above zero shows at least an eighth.
    """
    each = max(1, -(-len(values) // max(1, width)))
    sums = [sum(values[start : start + each]) for start in range(0, len(values), each)]
    top = max(sums, default=0)
    eighths = [max(1, round(total * HEIGHT * 8 / top)) if total else 0 for total in sums]
    lines = []
    for row in range(HEIGHT - 1, -1, -1):
        label = f"{top:,}" if row == HEIGHT - 1 else "0" if row == 0 else ""
        blocks = "".join(_EIGHTHS[min(8, max(0, height - row * 8))] for height in eighths)
        lines.append(f"{label:>{LABEL}} ┤{blocks}".rstrip())
    return lines, each
