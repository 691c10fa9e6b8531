"""Aligned columns of text. Figures are never cut, whatever the width of the terminal."""

from collections.abc import Iterable, Sequence

GAP = "  "


def aligned(rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Returns the rows as lines. Each column but the last is as wide as its widest cell; those in `right` are
    right-aligned.

    Long values, such as names and sentences, belong in the last column: it is never cut, and the terminal wraps it.
    """
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right_aligned = frozenset(right)
    lines = []
    for row in cells:
        last = len(row) - 1
        padded = (
            cell.rjust(width) if column in right_aligned else cell if column == last else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(GAP.join(padded).rstrip())
    return lines
