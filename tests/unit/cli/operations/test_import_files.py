"""Files of profiles: each row with its line, and what is wrong with a row."""

import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from cli.operations.import_files import FileRow, profile_file
from cli.operations.import_rows import ImportProblem
from cli.text_files import UnreadableFile


def rows(path: Path) -> list[FileRow]:
    with profile_file(path) as opened:
        found = list(opened.rows)
        assert opened.share() == 1.0
    return found


def test_csv_rows_have_the_line_at_which_they_end(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes('\ufeffid,note\r\nu1,"two\nlines"\n\nu2,\nu3\nu4,\xfc\n'.encode() + b"u5,\xff\n" + b'u6,"open')
    with profile_file(path) as opened:
        assert opened.columns == ["id", "note"]
        assert list(opened.rows) == [
            FileRow(3, {"id": "u1", "note": "two\nlines"}),
            FileRow(5, {"id": "u2"}),
            FileRow(6, None, "1 cells for 2 columns"),
            FileRow(7, {"id": "u4", "note": "ü"}),
            FileRow(8, None, "not UTF-8"),
            FileRow(9, {"id": "u6", "note": "open"}),
        ]


def test_a_cell_that_is_too_large_is_its_row_s_fault(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"id,note\nu1,{'x' * 2_000_000}\nu2,y\n")
    first, *_, last = rows(path)
    assert (first.values, first.reason.startswith("not CSV")) == (None, True)
    assert last.values == {"id": "u2", "note": "y"}


def test_json_lines_are_objects(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"user_id": "u1"}\n\n[]\n{\n{"user_id": "u2", "a": null}')
    first, second, third, last = rows(path)
    assert (first, second) == (FileRow(1, {"user_id": "u1"}), FileRow(3, None, "not a JSON object"))
    assert (third.line, third.values, third.reason[:8]) == (4, None, "not JSON")
    assert last == FileRow(5, {"user_id": "u2", "a": None})


def test_parquet_values_are_those_of_json(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "p.parquet"
    noon = datetime(2026, 11, 29, 12, tzinfo=UTC)
    columns = {"user_id": ["u1", "u2"], "at": [noon, None], "day": [date(2026, 1, 2), None]}
    columns |= {"sum": [Decimal("1.50"), Decimal(3)], "tags": [["a"], None]}
    parquet.write_table(pyarrow.table(columns), path)
    assert rows(path) == [
        FileRow(1, {"user_id": "u1", "at": noon.isoformat(), "day": "2026-01-02", "sum": 1.5, "tags": ["a"]}),
        FileRow(2, {"user_id": "u2", "sum": 3}),
    ]


def test_parquet_without_its_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnreadableFile, match=r"pip install 'ebbtide\[parquet\]'"):
        rows(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.xlsx", b"", "ends in .csv, .jsonl, .parquet"),
        ("p.csv", b"", "empty"),
        ("p.csv", b"a,a\n", "two columns have the same name"),
        ("p.csv", "id\n".encode("utf-16"), "UTF-16"),
        ("p.parquet", b"nothing of the kind", "not Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((ImportProblem, UnreadableFile)) as refused:
        rows(path)
    assert name in str(refused.value)
    assert says in str(refused.value)
