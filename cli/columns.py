"""Columns of text for people: figures are never cut, on a terminal of any width or without one."""

from collections.abc import Iterable, Sequence

GAP = "  "


def aligned(rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """The rows as lines, every column but the last as wide as its widest cell; those of `right` end below each other.

    What may be long, a name or a sentence, belongs in the last column: it is written whole, and a terminal wraps it.
    """
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    to_right = frozenset(right)
    lines = []
    for row in cells:
        last = len(row) - 1
        padded = (
            cell.rjust(width) if column in to_right else cell if column == last else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append(GAP.join(padded).rstrip())
    return lines
