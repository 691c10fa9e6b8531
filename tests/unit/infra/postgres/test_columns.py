"""Lists of columns in SQL statements."""

from dataclasses import dataclass

import pytest

from infra.postgres.columns import RowArrays, fields_of, names, statement


@dataclass
class PlacedPoint:
    """A row."""

    x: int
    label: str


def test_the_fields_of_a_dataclass_are_the_columns_of_a_select() -> None:
    assert statement("SELECT {point} FROM points", point=fields_of(PlacedPoint)) == b'SELECT "x", "label" FROM points'
    assert names(["x"], "p").as_string(None) == '"p"."x"'


def test_rows_become_one_array_for_each_column() -> None:
    arrays = RowArrays[PlacedPoint](x=("int", lambda point: point.x), label=("text", lambda point: point.label))
    assert arrays.unnest("new").as_string(None) == 'unnest(%(x)s::int[], %(label)s::text[]) AS "new" ("x", "label")'
    assert arrays.parameters([PlacedPoint(1, "a"), PlacedPoint(2, "b")]) == {"x": "{1,2}", "label": '{"a","b"}'}
    assert arrays.parameters([]) == {"x": "{}", "label": "{}"}


@pytest.mark.parametrize("sql_type", ["jsonb", "interval", "text[]"])
def test_a_type_whose_values_may_need_quotes_that_nobody_has_said_is_refused(sql_type: str) -> None:
    with pytest.raises(ValueError, match="no array of"):
        RowArrays[PlacedPoint](label=(sql_type, lambda point: point.label))
