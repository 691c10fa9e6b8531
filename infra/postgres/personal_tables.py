"""Tables with rows about people, each declared once: what an export reads, an erasure removes and a check looks for.

The package that writes a table declares it. Rows whose numbers must stay, such as those of counts, are kept without
what points to the person.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, LiteralString
from urllib.parse import quote

from psycopg import Connection
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier

from infra.postgres.columns import statement
from schemas.people import NOBODY


@dataclass(frozen=True, slots=True)
class PersonKeys:
    """By what rows name a person: the user id and the anonymous ids of their visits, their addresses, and the keyed
    hashes of these."""

    ids: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    address_hashes: tuple[bytes, ...] = ()

    def __or__(self, other: "PersonKeys") -> "PersonKeys":
        """Both as one, to be read or erased together."""
        both = zip(astuple(self), astuple(other), strict=True)
        return PersonKeys(*(tuple(dict.fromkeys((*ours, *theirs))) for ours, theirs in both))

    def parameters(self) -> dict[str, Any]:
        """The parameters of the conditions of tables."""
        return {
            "ids": list(self.ids),
            "hashes": list(self.address_hashes),
            "addresses": sorted({form for each in self.addresses for form in (each.lower(), quote(each.lower()))}),
            "nobody": NOBODY,
        }


@dataclass(frozen=True, slots=True)
class PersonalTable:
    """A table, and how the rows of a person are found: by `%(ids)s`, which are those of the user and of
    visits, `%(hashes)s`, and `%(addresses)s`, which are in lower case, also as they stand in URLs."""

    name: LiteralString
    section: str
    """The part of an export in which its rows stand."""
    owned: LiteralString
    """The condition of the rows that point to the person."""
    cleared: Mapping[LiteralString, LiteralString] = field(default_factory=dict)
    """What erasing sets in these rows, by column. Without it, the rows are deleted."""
    shown: LiteralString = ""
    """The condition of the rows that an export shows, if it shows more."""
    order: LiteralString = "1"


def rows_of(connection: Connection[Any], table: PersonalTable, person: PersonKeys) -> list[dict[str, Any]]:
    """The rows that an export shows."""
    query = statement(
        "SELECT * FROM {table} WHERE {condition} ORDER BY {order}",
        table=Identifier(table.name),
        condition=SQL(table.shown or table.owned),
        order=SQL(table.order),
    )
    return connection.cursor(row_factory=dict_row).execute(query, person.parameters()).fetchall()


def erase(connection: Connection[Any], table: PersonalTable, person: PersonKeys) -> int:
    """Removes what points to the person; returns how many rows did."""
    return connection.execute(_erasure(table), person.parameters()).rowcount


def remaining(connection: Connection[Any], table: PersonalTable, person: PersonKeys) -> int:
    """How many rows point to the person."""
    query = statement(
        "SELECT count(*) FROM {table} WHERE {condition}", table=Identifier(table.name), condition=SQL(table.owned)
    )
    [[count]] = connection.execute(query, person.parameters()).fetchall()
    return int(count)


def _erasure(table: PersonalTable) -> bytes:
    name, condition = Identifier(table.name), SQL(table.owned)
    if not table.cleared:
        return statement("DELETE FROM {table} WHERE {condition}", table=name, condition=condition)
    return statement(
        "UPDATE {table} SET {values} WHERE {condition}",
        table=name,
        values=assignments(table.cleared),
        condition=condition,
    )


def assignments(cleared: Mapping[LiteralString, LiteralString]) -> Composed:
    """What follows SET: the columns with their expressions."""
    return SQL(", ").join(SQL("{} = {}").format(Identifier(name), SQL(value)) for name, value in cleared.items())
