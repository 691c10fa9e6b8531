"""The rows of a file of profiles: CSV with a header, JSON lines, or Parquet, each row with its line."""

import csv
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from cli.operations.import_rows import ImportProblem
from cli.parquet_files import json_value, parquet_table
from cli.text_files import opened, without_mark

csv.field_size_limit(1 << 20)


class FileRow(NamedTuple):
    """A row, or why it cannot be read."""

    line: int
    values: Mapping[str, Any] | None
    reason: str = ""


class ProfileFile:
    """An open file: its columns, as far as they are known before it is read, and its rows."""

    def __init__(self, columns: list[str] | None, rows: Iterator[FileRow], share: Callable[[], float]) -> None:
        self.columns = columns
        self.rows = rows
        self.share = share
        """Which share of the file is read, from 0 to 1."""


@contextmanager
def profile_file(path: Path) -> Iterator[ProfileFile]:
    """Opens a file by its ending. Raises ImportProblem, or UnreadableFile."""
    kind = _KINDS.get(path.suffix.casefold())
    if kind is None:
        raise ImportProblem(f"{path}: a file of profiles ends in {', '.join(_KINDS)}")
    with opened(path) as file:
        yield kind(path, file)


def _csv(path: Path, file: IO[bytes]) -> ProfileFile:
    without_mark(file.readline(), path)
    file.seek(0)
    reader = csv.reader(TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline=""))
    columns = next(reader, [])
    if not columns:
        raise ImportProblem(f"{path}: empty; its first line must name the columns")
    if len(set(columns)) < len(columns):
        raise ImportProblem(f"{path}: two columns have the same name")
    return ProfileFile(columns, _csv_rows(reader, columns), _share_of_bytes(path, file))


def _csv_rows(reader: Any, columns: list[str]) -> Iterator[FileRow]:
    """The rows behind the header. An empty cell says nothing."""
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield FileRow(reader.line_num, None, f"not CSV: {error}")
            continue
        if len(cells) == len(columns):
            yield _utf8_row(reader.line_num, dict(zip(columns, cells, strict=True)))
        elif cells:
            yield FileRow(reader.line_num, None, f"{len(cells)} cells for {len(columns)} columns")


def _utf8_row(line: int, row: dict[str, str]) -> FileRow:
    values = {sys.intern(name): cell for name, cell in row.items() if cell != ""}
    if any(not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell) for cell in values.values()):
        return FileRow(line, None, "not UTF-8")
    return FileRow(line, values)


def _json_lines(path: Path, file: IO[bytes]) -> ProfileFile:
    rows = (
        _json_row(number, without_mark(raw, path) if number == 1 else raw)
        for number, raw in enumerate(file, 1)
        if raw.strip()
    )
    return ProfileFile(None, rows, _share_of_bytes(path, file))


def _json_row(number: int, text: bytes) -> FileRow:
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return FileRow(number, None, f"not JSON: {error}")
    return FileRow(number, values) if isinstance(values, dict) else FileRow(number, None, "not a JSON object")


def _share_of_bytes(path: Path, file: IO[bytes]) -> Callable[[], float]:
    size = max(1, path.stat().st_size)
    return lambda: 1.0 if file.closed else min(1.0, file.tell() / size)  # its text reader closes it at the end


def _parquet(path: Path, file: IO[bytes]) -> ProfileFile:
    table = parquet_table(path, file)
    read = 0

    def rows() -> Iterator[FileRow]:
        """The line is the number of the row. A null says nothing."""
        nonlocal read
        for batch in table.iter_batches(batch_size=5_000):
            for row in batch.to_pylist():
                read += 1
                yield FileRow(read, {name: json_value(value) for name, value in row.items() if value is not None})

    return ProfileFile(list(table.schema_arrow.names), rows(), lambda: read / max(1, table.metadata.num_rows))


_KINDS: Mapping[str, Callable[[Path, IO[bytes]], ProfileFile]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
