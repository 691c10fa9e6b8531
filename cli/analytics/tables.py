"""An answer as a table of text, CSV or JSON."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from cli.columns import aligned

_SMALL = 0.001


class AnswerTable(NamedTuple):
    """The columns of an answer, and its rows."""

    columns: Sequence[str]
    rows: Sequence[tuple[Any, ...]]

    def column(self, name: str) -> list[Any]:
        """The values of a column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def records(self) -> list[dict[str, Any]]:
        """The rows by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def text_lines(answer: AnswerTable) -> list[str]:
    """The answer as aligned columns, numbers at the right."""
    numeric = [
        place
        for place in range(len(answer.columns))
        if all(row[place] is None or isinstance(row[place], int | float) for row in answer.rows)
    ]
    return aligned([answer.columns, *([cell_text(value) for value in row] for row in answer.rows)], numeric)


def cell_text(value: Any) -> str:
    """A value as people read it: thousands apart, at most four decimals, `-` where there is none."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.1e}" if 0 < abs(value) < _SMALL else f"{value:,.4f}".rstrip("0").rstrip(".")
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M")
        case list():
            return " > ".join(map(str, value))
        case _:
            return str(value)


def csv_lines(answer: AnswerTable) -> Iterator[str]:
    """The answer as CSV (RFC 4180) with a line of names. Lists are joined by ` > `, what is missing is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for row in (answer.columns, *answer.rows):
        writer.writerow([_csv_cell(value) for value in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _csv_cell(value: Any) -> Any:
    """The value; text that a spreadsheet would take for a formula gets an apostrophe first."""
    if isinstance(value, list):
        value = " > ".join(map(str, value))
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value.isoformat() if isinstance(value, date) else value
