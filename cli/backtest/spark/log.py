"""A log as Spark reads it: the lines or rows of one file or of many, and where each split of a file begins.

A split is what one task reads of a file. Spark does not know the number of a line, so each log is read twice: once to
count the lines of each split, which stays within the JVM, and once by our reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cli.backtest.job import BacktestProblem
from cli.backtest.spark.session import failures_to_read
from cli.backtest.worker import Input
from cli.rules.log_blocks import MAX_LINE_BYTES, BadLog
from cli.text_files import STANDARD_INPUT

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_PARQUET = ".parquet"
_READ = {"recursiveFileLookup": True}
"""It also keeps folders such as `day=2026-01-05` from being columns."""
_GLOB = "\\*?[]{}"


@dataclass(frozen=True, slots=True)
class LogSplit:
    """A part of a file."""

    name: str
    """The file as it was named, or if a folder or a pattern was, as Spark names it."""
    first: int
    """The number of its first line in the file, from 1."""
    before: int
    """How many lines the files before this one have."""


@dataclass(frozen=True, slots=True)
class SparkLog:
    """A log to read. `lines` has the columns `split`, a key of `splits`, and `line`: bytes, or a struct with a row of
    a Parquet file."""

    kind: Input
    lines: "DataFrame"
    splits: dict[str, LogSplit]


def open_log(session: "SparkSession", kind: Input, place: str) -> SparkLog:
    """Opens a file, a folder, or all that a pattern names. Files are in the order of their names. Raises BadLog."""
    if place == STANDARD_INPUT:
        raise BacktestProblem(f"--{kind}: Spark cannot read standard input; name a file or a folder")
    path = _spark_path(place)
    with failures_to_read(place):
        files = session.read.options(**_READ).text(path).inputFiles()
        if not files:
            raise BadLog(f"{place}: there is no file; Spark passes over names that begin with . or _")
        lines = _rows(session, path) if _is_parquet(place, files) else _texts(session, path)
        counted = lines.groupBy("split").count().collect()
    return SparkLog(kind, lines, splits_of({row["split"]: row["count"] for row in counted}, place))


def _spark_path(place: str) -> str:
    """A local file or folder by its whole URL, since Spark may look elsewhere; anything else as it was given."""
    local = Path(place)
    if not local.exists():
        return place
    return "file://" + "".join(f"\\{each}" if each in _GLOB else each for each in str(local.resolve()))


def _is_parquet(place: str, files: Sequence[str]) -> bool:
    number = sum(file.casefold().endswith(_PARQUET) for file in files)
    if 0 < number < len(files):
        raise BadLog(
            f"{place}: {number} of its {len(files)} files end in {_PARQUET}; a log is Parquet or lines of JSON"
        )
    return number > 0


def _texts(session: "SparkSession", path: str) -> "DataFrame":
    """Lines as bytes, which our reader judges. One that is too long is cut, but not below the limit."""
    from pyspark.sql import functions as F  # noqa: N812  # as all of Spark's users call it

    line = F.substring(F.col("value").cast("binary"), 1, MAX_LINE_BYTES + 1)
    text = session.read.options(lineSep="\n", **_READ).text(path)
    return text.select(_split_key(), line.alias("line"))


def _rows(session: "SparkSession", path: str) -> "DataFrame":
    from pyspark.sql import functions as F  # noqa: N812

    table = session.read.options(mergeSchema=True, **_READ).parquet(path)
    return table.select(_split_key(), F.struct("*").alias("line"))


def _split_key() -> "Column":
    from pyspark.sql import functions as F  # noqa: N812

    start = F.col("_metadata.file_block_start").cast("string")
    return F.concat_ws(" ", start, F.col("_metadata.file_path")).alias("split")


def splits_of(lines: dict[str, int], place: str) -> dict[str, LogSplit]:
    """The splits of a log by the number of their lines; the key of each is where it starts, and its file."""
    order = sorted((file, int(start)) for start, _, file in (key.partition(" ") for key in lines))
    is_file = Path(place).is_file()
    splits: dict[str, LogSplit] = {}
    total = before = 0
    last = ""
    for file, start in order:
        if file != last:
            last, before = file, total
        key = f"{start} {file}"
        splits[key] = LogSplit(place if is_file else _shown(file), total - before + 1, before)
        total += lines[key]
    return splits


def _shown(file: str) -> str:
    """A local file by its path, any other by its URL."""
    parts = urlsplit(file)
    return unquote(parts.path) if parts.scheme == "file" else file
