"""Lists of columns for SQL statements, made from the one place that names the columns.

The names come from the code, never from data.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar

from psycopg import DataError
from psycopg.sql import SQL, Composable, Composed, Identifier

Row = TypeVar("Row")


def names(columns: Iterable[str], table: str | None = None) -> Composed:
    """The columns, separated by commas, each with the table's name or alias before it if that is given."""
    prefix = () if table is None else (table,)
    return SQL(", ").join(Identifier(*prefix, column) for column in columns)


def fields_of(row: type, table: str | None = None) -> Composed:
    """The columns that a dataclass has as fields, in their order: for a SELECT that `args_row` or `class_row` reads."""
    return names((field.name for field in fields(row)), table)


def statement(template: str, **parts: Composable) -> bytes:
    """The statement with its lists filled in, ready to be executed."""
    return SQL(template).format(**parts).as_bytes(None)


class RowArrays(Generic[Row]):
    """Rows as one array a column, for `FROM unnest(...)`. Columns are name -> (SQL type, value of a row).

    Raises ValueError for a type of which `array_literal` knows no array.
    """

    def __init__(self, **columns: tuple[str, Callable[[Row], Any]]) -> None:
        for sql_type, _ in columns.values():
            array_literal(sql_type, ())
        self._columns: Mapping[str, tuple[str, Callable[[Row], Any]]] = columns

    def unnest(self, alias: str) -> Composed:
        """The rows as a table with this alias: `unnest(%(id)s::text[], ...) AS alias (id, ...)`."""
        arrays = SQL(", ").join(
            SQL("%({})s::{}[]").format(SQL(name), SQL(sql_type)) for name, (sql_type, _) in self._columns.items()
        )
        return SQL("unnest({}) AS {} ({})").format(arrays, Identifier(alias), names(self._columns))

    def parameters(self, rows: Sequence[Row]) -> dict[str, str]:
        """The arrays, by the names that `unnest` uses."""
        return {
            name: array_literal(sql_type, [value(row) for row in rows])
            for name, (sql_type, value) in self._columns.items()
        }


def array_literal(sql_type: str, values: Iterable[Any]) -> str:
    """The values as PostgreSQL writes an array of this type: psycopg takes five times as long to dump a list.

    Raises ValueError for a type that is not listed here: without the quotes that its values may need, they would split
    the array.
    """
    written = _WRITTEN.get(sql_type)
    if written is None:
        raise ValueError(f"no array of {sql_type}: add to `_WRITTEN` how its values are written")
    return f"{{{','.join(['NULL' if value is None else written(value) for value in values])}}}"


def _text(value: str) -> str:
    if "\0" in value:
        raise DataError("text of PostgreSQL cannot contain NUL")
    return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'


_WRITTEN: Mapping[str, Callable[[Any], str]] = {
    "text": _text,
    "bytea": lambda value: rf'"\\x{value.hex()}"',
    "timestamptz": lambda value: value.isoformat(),
    "uuid": str,
    "int": str,
    "bigint": str,
    "smallint": str,
    "boolean": str,
}
"""How a value is written, by type. Those with `str` have no character that an array gives a meaning."""
