"""What Spark's Python processes do: they read the lines of a split as records, then replay the users of a partition.

Both take and give batches of rows and keep none: what is in memory is a batch, and the state of one user. Reports for
the driver are rows among the others, pickled, so that each counts once whatever Spark does again.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, groupby, islice
from operator import itemgetter
from tempfile import SpooledTemporaryFile
from typing import Any

import pyarrow as pa
from pyarrow import compute

from cli.backtest.job import BacktestJob
from cli.backtest.spark.log import LogSplit
from cli.backtest.worker import BlockReport, BucketReport, Input, RecordPlayer, bucket_of
from cli.rules.log_blocks import BadLog, check_encoding, line_of_row
from triggers.cases.broadcast_index import BroadcastIndex
from triggers.cases.history_records import HistoryRecord, mark
from triggers.cases.user_replay import ReplaySpan

RECORDS = "bucket int, user_id string, at_ms long, rank int, id string, position long, kind int, payload binary"
"""The rows of a division: a record with its bucket, or a report."""
REPORT = -2
"""The bucket of a row whose payload is a `SplitReport`."""
RESULTS = "is_report boolean, payload binary"
"""The rows of a replay: some decisions as lines of JSON, or at last a `BucketReport`."""
_ROWS = 2_000
_CHUNK_BYTES = 1024 * 1024
_SPOOL_BYTES = 16 * 1024 * 1024
"""Decisions of a partition that are kept in memory; more are in an unnamed file until the partition is done."""
_RECORDS = pa.schema(
    [
        ("bucket", pa.int32()),
        ("user_id", pa.string()),
        ("at_ms", pa.int64()),
        ("rank", pa.int32()),
        ("id", pa.string()),
        ("position", pa.int64()),
        ("kind", pa.int32()),
        ("payload", pa.binary()),
    ]
)
_RESULTS = pa.schema([("is_report", pa.bool_()), ("payload", pa.binary())])

Batches = Iterator[pa.RecordBatch]


@dataclass(slots=True)
class SplitReport:
    """What a split had."""

    position: int
    """Where its first line stands in the log."""
    block: BlockReport
    refused: str = ""
    """Why the file cannot be read at all."""


@dataclass(frozen=True, slots=True)
class SplitBlock:
    """The lines of a split, which can be read once."""

    split: LogSplit
    content: Iterable[bytes]
    done: int = field(default=0)

    @property
    def first(self) -> int:
        """The number of its first line."""
        return self.split.first

    def lines(self) -> Iterator[bytes]:
        """The lines; raises BadLog if the file is no UTF-8."""
        for number, line in enumerate(self.content, self.first):
            if number == 1:
                check_encoding(self.split.name, line)
            yield line


def divider(
    job: BacktestJob, kind: Input, splits: Mapping[str, LogSplit], buckets: int
) -> Callable[[Batches], Batches]:
    """A function that Spark gives the lines of a log, and that makes rows as in RECORDS of them."""
    pickled = _pickled(job)

    def divide(batches: Batches) -> Batches:
        return _divided(_player(pickled), kind, splits, buckets, batches)

    return divide


def replayer(job: BacktestJob, span: ReplaySpan, broadcasts: Sequence[HistoryRecord]) -> Callable[[Batches], Batches]:
    """A function that Spark gives records sorted by user, and that makes rows as in RESULTS of them."""
    pickled, shared, writes = _pickled(job), pickle.dumps(broadcasts), job.write_decisions

    def replay(batches: Batches) -> Batches:
        player = _player(pickled)
        return _replayed(player, _indexes(pickled, shared), span, batches, writes=writes)

    return replay


def _pickled(job: BacktestJob) -> bytes:
    """The job for tasks. Which bad line is the first of all, with --strict, no task can know."""
    return pickle.dumps(replace(job, strict=False))


@lru_cache(maxsize=1)
def _player(job: bytes) -> RecordPlayer:
    """Loads the rules once in a process, for all of its tasks."""
    return RecordPlayer(pickle.loads(job))  # noqa: S301  # our driver's


@lru_cache(maxsize=1)
def _indexes(job: bytes, broadcasts: bytes) -> list[BroadcastIndex]:
    return _player(job).broadcasts(pickle.loads(broadcasts))  # noqa: S301  # our driver's


def _divided(
    player: RecordPlayer, kind: Input, splits: Mapping[str, LogSplit], buckets: int, batches: Batches
) -> Batches:
    for key, pieces in groupby(_pieces(batches), itemgetter(0)):
        split = splits.get(key) or LogSplit(key.partition(" ")[2], 1, 0)
        report, marked = SplitReport(split.before + split.first, BlockReport(kind)), set[str]()
        block = SplitBlock(split, chain.from_iterable(lines for _, lines in pieces))
        records = chain(player.records(report.block, split.name, block, marked), _marks(marked))
        try:
            if key not in splits:
                raise BadLog(f"{split.name}: changed while it was read; read a copy of it")
            while rows := list(islice(records, _ROWS)):
                yield _rows([bucket_of(each.user_id, buckets) for each in rows], rows, split.before)
        except BadLog as error:
            report.refused = error.line
        yield _rows([REPORT], [HistoryRecord("", 0, 0, "", report.position, 0, pickle.dumps(report))])


def _marks(marked: set[str]) -> Iterator[HistoryRecord]:
    """The marks of users who are known when the first is asked for."""
    yield from map(mark, marked)


def _pieces(batches: Batches) -> Iterator[tuple[str, Iterable[bytes]]]:
    """The lines of batches, each piece with the key of its split. A batch may have lines of many splits."""
    for batch in batches:
        lines, start = batch.column("line"), 0
        splits = compute.run_end_encode(batch.column("split"))
        for key, end in zip(splits.values.to_pylist(), splits.run_ends.to_pylist(), strict=True):
            yield key, _lines(lines.slice(start, end - start))
            start = end


def _lines(column: pa.Array) -> Iterable[bytes]:
    rows: list[Any] = column.to_pylist()
    return map(line_of_row, rows) if pa.types.is_struct(column.type) else rows


def _rows(buckets: list[int], records: list[HistoryRecord], before: int = 0) -> pa.RecordBatch:
    user_ids, instants, ranks, ids, positions, kinds, payloads = zip(*records, strict=True)
    columns = (buckets, user_ids, instants, ranks, ids, [before + each for each in positions], kinds, payloads)
    arrays = [pa.array(column, each.type) for column, each in zip(columns, _RECORDS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_RECORDS)


def _replayed(
    player: RecordPlayer, indexes: Sequence[BroadcastIndex], span: ReplaySpan, batches: Batches, *, writes: bool
) -> Batches:
    report = BucketReport(0)
    with SpooledTemporaryFile(_SPOOL_BYTES) as lines:
        player.play(_records(batches), indexes, span, report, lines.write if writes else None)
        lines.seek(0)
        while chunk := lines.read(_CHUNK_BYTES):
            yield _result(False, chunk)
    yield _result(True, pickle.dumps(report))


def _records(batches: Batches) -> Iterator[HistoryRecord]:
    for batch in batches:
        _, *columns = (column.to_pylist() for column in batch.columns)
        yield from map(HistoryRecord._make, zip(*columns, strict=True))


def _result(is_report: bool, payload: bytes) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"is_report": is_report, "payload": payload}], schema=_RESULTS)
