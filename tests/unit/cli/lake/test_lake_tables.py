"""The tables of the lake have the columns of the hypertables, and tables of an older version get those that are new."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.lake.iceberg_tables import iceberg_tables
from cli.lake.lake_tables import SCHEMAS, by_day
from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind
from senders.recording import rows


@pytest.mark.parametrize(("table", "columns"), [("deliveries", rows.DELIVERY), ("engagement", rows.ENGAGEMENT)])
def test_an_answer_has_the_columns_of_its_hypertable(table: str, columns: tuple[str, ...]) -> None:
    assert set(SCHEMAS[table].names) == set(columns)


def test_an_iceberg_table_of_an_older_version_gets_the_columns_that_are_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = SCHEMAS["deliveries"]
    at = datetime(2026, 11, 27, tzinfo=UTC)
    sent = [
        Outcome(id=f"o{n}", command_id=f"c{n}", user_id="u", kind=OutcomeKind.ACCEPTED, time=at, brand="shop")
        for n in range(2)
    ]
    monkeypatch.setitem(SCHEMAS, "deliveries", now.remove(now.get_field_index("brand")))
    with iceberg_tables(tmp_path, None) as [_, deliveries, _]:
        deliveries.add(by_day(sent[:1]), {"outcomes": {0: 1}})
    monkeypatch.setitem(SCHEMAS, "deliveries", now)
    with iceberg_tables(tmp_path, None) as [_, deliveries, _]:
        assert deliveries.add(by_day(sent), {"outcomes": {0: 2}}) == {"deliveries": 1}
        found = deliveries._table.scan(selected_fields=("id", "brand")).to_arrow().to_pylist()
    assert sorted(found, key=lambda row: row["id"]) == [{"id": "o0", "brand": None}, {"id": "o1", "brand": "shop"}]
