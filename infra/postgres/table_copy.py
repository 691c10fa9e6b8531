"""Copies the content of a database's tables to files and back, as PostgreSQL's COPY writes it (text, UTF-8).

It needs no program of the server's version, and no right beyond those of the tables' owner. What extensions own is left
out; hypertables and partitioned tables are copied as one table each.
"""

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from infra.postgres.columns import names

BLOCK = 1 << 20
_OWNED = """NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                        AND d.deptype = 'e')
    AND n.nspname !~ '^(pg_|_?timescaledb|information_schema)'"""
_TABLES = f"""SELECT n.nspname, c.relname, array_agg(a.attname ORDER BY a.attnum)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p' AND {_OWNED}
      AND c.relname <> 'schema_migrations'
    GROUP BY 1, 2 ORDER BY 1, 2"""  # noqa: S608  # conditions of ours
_REFERENCES = """SELECT rn.nspname, r.relname, fn.nspname, f.relname FROM pg_constraint AS o
    JOIN pg_class AS r ON r.oid = o.conrelid JOIN pg_namespace AS rn ON rn.oid = r.relnamespace
    JOIN pg_class AS f ON f.oid = o.confrelid JOIN pg_namespace AS fn ON fn.oid = f.relnamespace
    WHERE o.contype = 'f' AND o.conrelid <> o.confrelid"""
_SEQUENCES = f"""SELECT n.nspname, c.relname, pg_sequence_last_value(c.oid) FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND {_OWNED} ORDER BY 1, 2"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """A table and the columns that are copied."""

    schema: str
    name: str
    columns: Sequence[str]

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.schema}.{self.name}.gz"

    @property
    def identifier(self) -> Identifier:
        """Its name in a statement."""
        return Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class SequenceValue:
    """The last value that a sequence gave; None if it gave none yet."""

    schema: str
    name: str
    last: int | None


def tables(connection: Connection[Any]) -> list[CopiedTable]:
    """The tables, each after those that it refers to."""
    found = {
        (schema, name): CopiedTable(schema, name, columns) for schema, name, columns in connection.execute(_TABLES)
    }
    order = TopologicalSorter[tuple[str, str]]({place: set() for place in found})
    for schema, name, other_schema, other in connection.execute(_REFERENCES):
        order.add((schema, name), (other_schema, other))
    return [found[place] for place in order.static_order() if place in found]


def sequences(connection: Connection[Any]) -> list[SequenceValue]:
    """The sequences, with their last values."""
    return [SequenceValue(*row) for row in connection.execute(_SEQUENCES)]


def copy_out(connection: Connection[Any], table: CopiedTable, folder: Path) -> None:
    """Write a table's rows, as the connection's transaction sees them, to its file in the folder."""
    query = SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(names(table.columns), table.identifier)
    with gzip.open(folder / table.file, "wb", compresslevel=1) as file, connection.cursor().copy(query) as rows:
        for block in rows:
            file.write(block)


def copy_in(connection: Connection[Any], table: CopiedTable, folder: Path) -> None:
    """Replace a table's rows by those in its file."""
    if _has_rows(connection, table):  # what migrations put there; some tables refuse to delete even nothing
        connection.execute(SQL("DELETE FROM {}").format(table.identifier))
    query: Composed = SQL("COPY {} ({}) FROM STDIN").format(table.identifier, names(table.columns))
    with gzip.open(folder / table.file, "rb") as file, connection.cursor().copy(query) as rows:
        while block := file.read(BLOCK):
            rows.write(block)


def set_sequences(connection: Connection[Any], values: Iterable[SequenceValue]) -> None:
    """Let sequences go on behind these values."""
    for value in values:
        if value.last is not None:
            connection.execute("SELECT setval(%s::regclass, %s)", [f'"{value.schema}"."{value.name}"', value.last])


def _has_rows(connection: Connection[Any], table: CopiedTable) -> bool:
    [[found]] = connection.execute(SQL("SELECT EXISTS (SELECT FROM {})").format(table.identifier)).fetchall()
    return bool(found)
