"""A lake of Apache Iceberg tables: each append is one commit with the offsets that it holds, kept as a table property.

The catalogue is a SQLite file in the folder, or one that pyiceberg's own configuration names.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import IO, cast

import orjson
import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import In
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform

from cli.lake.lake_folder import Offsets, count_of_users
from cli.lake.lake_tables import SCHEMAS, Row, TableDay
from schemas.topics import DECISIONS, OUTCOMES

NAMESPACE = "ebbtide"
_OFFSETS = "ebbtide.offsets"


class IcebergTable:
    """One table, which one export writes at a time: Iceberg refuses the commit of a second one."""

    def __init__(self, catalog: Catalog, name: str) -> None:
        self.name = name
        self.topics = (DECISIONS.name,) if name == "decisions" else (OUTCOMES.name,)
        self._table = _loaded(catalog, f"{NAMESPACE}.{name}", SCHEMAS[name])

    @property
    def offsets(self) -> Offsets:
        """By topic and partition: the offset of the next record to export."""
        texts = orjson.loads(self._table.properties.get(_OFFSETS, "{}"))
        return {topic: {int(p): at for p, at in each.items()} for topic, each in texts.items()}

    def add(self, days: Mapping[TableDay, Mapping[str, Row]], offsets: Offsets) -> dict[str, int]:
        """Commits the rows that are not there yet, by id, with the offsets after them. Returns new rows by table."""
        fresh = [row for day, rows in sorted(days.items()) if day.table == self.name for row in self._fresh(day, rows)]
        texts = {topic: {str(p): at for p, at in sorted(each.items())} for topic, each in offsets.items()}
        with self._table.transaction() as transaction:
            if fresh:
                transaction.append(pa.Table.from_pylist(fresh, SCHEMAS[self.name]))
            transaction.set_properties({_OFFSETS: orjson.dumps(texts).decode()})
        return {self.name: len(fresh)} if fresh else {}

    def _fresh(self, day: TableDay, rows: Mapping[str, Row]) -> list[Row]:
        begin = datetime.combine(day.day, time(), UTC)
        end = begin + timedelta(days=1)
        of_day = f"time >= '{begin.isoformat()}' AND time < '{end.isoformat()}'"
        known = set(self._table.scan(of_day, selected_fields=("id",)).to_arrow()["id"].to_pylist())
        return [row for id_, row in rows.items() if id_ not in known]

    def count(self, users: Collection[str]) -> int:
        """How many rows of these users the current snapshot has."""
        return self._table.scan(_of(users), selected_fields=("user_id",)).count()

    def count_older(self, users: Collection[str]) -> int:
        """How many rows of these users are in files that only older snapshots have."""
        current = set(self._table.inspect.data_files()["file_path"].to_pylist())
        known = set(self._table.inspect.all_data_files()["file_path"].to_pylist())
        return sum(self._count_in(path, users) for path in known - current)

    def _count_in(self, path: str, users: Collection[str]) -> int:
        with self._table.io.new_input(path).open() as file:
            return count_of_users(cast("IO[bytes]", file), users)  # it is one of pyarrow's

    def erase(self, users: Collection[str]) -> None:
        """Deletes the rows of users from the table. Its older snapshots have them until they are expired."""
        self._table.delete(_of(users))


def _of(users: Collection[str]) -> In:
    return In("user_id", users)  # type: ignore[call-arg]  # pydantic's plugin misses its __init__


@contextmanager
def iceberg_tables(root: Path, catalog: str | None) -> Iterator[list[IcebergTable]]:
    """The tables below `root`, made if they are not there; in the catalogue of this name, if one is given."""
    if catalog is None:
        root.mkdir(parents=True, exist_ok=True)
        place = root.absolute()
        found: Catalog = SqlCatalog(NAMESPACE, uri=f"sqlite:///{place}/catalog.db", warehouse=f"file://{place}")
    else:
        found = load_catalog(catalog)
    try:
        found.create_namespace_if_not_exists(NAMESPACE)
        yield [IcebergTable(found, name) for name in SCHEMAS]
    finally:
        found.close()


def _loaded(catalog: Catalog, name: str, schema: pa.Schema) -> Table:
    if catalog.table_exists(name):
        known = catalog.load_table(name)
        with known.update_schema() as update:
            update.union_by_name(schema)  # an older version made it with fewer columns
        return known
    table = catalog.create_table(name, schema)
    with table.update_spec() as spec:
        spec.add_field("time", DayTransform(), "day")
    return table
