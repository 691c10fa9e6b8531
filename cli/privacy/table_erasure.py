"""Erases a person from the tables of both databases."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import Connection

from cli.privacy.people import PersonStores
from cli.privacy.receipt import PlaceEnd, PlaceReceipt
from infra.postgres.personal_tables import PersonalTable, PersonKeys, erase, remaining
from senders.personal_tables import HYPERTABLES, LEDGER
from web import personal_tables as of_web

LAST = of_web.LINKS
"""Another run finds the visits of the person by it."""


@dataclass(slots=True)
class TableErasure:
    """The rows of one person, and how many of them were erased so far."""

    stores: PersonStores
    person: PersonKeys
    erased: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Erases all rows but those of LAST, each table in a transaction of its own: no row is held through the scan of
        another table. A run that ended between two is taken up by another."""
        for connection, tables in self._groups():
            for table in tables:
                self._erase(connection, table)

    def finish(self) -> None:
        """Erases the rows of LAST."""
        self._erase(self.stores.ledger, LAST)

    def receipts(self, now: datetime) -> Iterator[PlaceReceipt]:
        """What became of each table, by reading it again."""
        for connection, tables in (*self._groups(), (self.stores.ledger, (LAST,))):
            for table in tables:
                yield self._receipt(connection, table, now)

    def _groups(self) -> Iterator[tuple[Connection[Any], tuple[PersonalTable, ...]]]:
        tables = (each for each in (*of_web.TABLES, *LEDGER) if each is not LAST)
        yield self.stores.ledger, tuple(sorted(tables, key=_tells_addresses))
        yield self.stores.timescale, HYPERTABLES

    def _erase(self, connection: Connection[Any], table: PersonalTable) -> None:
        if count := erase(connection, table, self.person):
            self.erased[table.name] += count

    def _receipt(self, connection: Connection[Any], table: PersonalTable, now: datetime) -> PlaceReceipt:
        left, count = remaining(connection, table, self.person), self.erased[table.name]
        what = "kept without the person" if table.cleared else "deleted"
        done = f"{count} rows {what}" if count else "nothing was there"
        end = PlaceEnd.PENDING if left else PlaceEnd.GONE
        return PlaceReceipt(f"table {table.name}", end, done, f"read: {left} rows", None if left else now)


def _tells_addresses(table: PersonalTable) -> bool:
    """Whether rows are found without the address: another run may find the address by them, so they go later."""
    return "%(addresses)s" not in table.owned and "%(hashes)s" not in table.owned
