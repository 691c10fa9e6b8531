"""What Spark's processes do with any splits, batches and partitions adds up to the native result. Spark itself is not
needed: lines go in and rows come out."""

import pickle
from io import BytesIO
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from drivers.backtest_histories import BAD_LINES, START, events, job_of, outcomes, profiles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.backtest.run import DividedLog, RunTotals, run_backtest
from cli.backtest.spark.log import splits_of
from cli.backtest.spark.run import places_of
from cli.backtest.spark.tasks import REPORT, divider, replayer
from cli.rules.event_log import LineFindings
from cli.step_printer import StepPrinter
from schemas.events import Event
from schemas.outcomes import Outcome
from triggers.cases.backtest import TimedProfile, span_of
from triggers.cases.history_records import HistoryRecord

Row = tuple[Any, ...]
BAD = [line.strip() for lines in BAD_LINES.values() for line in lines if len(line) < 1_000]


def test_a_split_begins_behind_the_lines_of_those_before_it_in_its_file(tmp_path: Path) -> None:
    splits = splits_of({"200 file:///logs/a": 3, "0 file:///logs/a": 5, "0 file:///logs/b%20c": 7}, str(tmp_path))
    assert {key: (each.name, each.first, each.before) for key, each in splits.items()} == {
        "0 file:///logs/a": ("/logs/a", 1, 0),
        "200 file:///logs/a": ("/logs/a", 6, 0),
        "0 file:///logs/b%20c": ("/logs/b c", 1, 8),
    }
    splits = splits_of({"0 s3a://logs/a b": 1}, "s3a://logs/*")
    assert [each.name for each in splits.values()] == ["s3a://logs/a b"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(events, max_size=30),
    st.none() | st.lists(profiles, max_size=8),
    st.none() | st.lists(outcomes, max_size=6, unique_by=lambda each: each.id),
    st.none() | st.sampled_from([START, START + 50_000_000]),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(BAD)), max_size=3),
    st.integers(1, 12),
    st.integers(1, 7),
    st.integers(1, 4),
)
def test_splits_batches_and_partitions_of_any_size_give_the_native_result(
    tmp_path: Path,
    log: list[Event],
    people: list[TimedProfile] | None,
    told: list[Outcome] | None,
    until_ms: int | None,
    bad: list[tuple[int, bytes]],
    split_lines: int,
    batch_lines: int,
    partition_users: int,
) -> None:
    job = job_of(tmp_path, log, people, told, until_ms=until_ms)
    lines = job.events.read_bytes().split(b"\n")
    for number, line in bad if log else ():
        lines.insert(number, line)
    job.events.write_bytes(b"\n".join(lines))
    decisions = BytesIO()
    native = run_backtest(job, StepPrinter(Console(file=None, quiet=True)), decisions, processes=0, buckets=1)

    divided, rows = DividedLog(), list[Row]()
    for kind, place in places_of(*(each and str(each) for each in (job.events, job.profiles, job.outcomes))).items():
        read = Path(place).read_bytes().split(b"\n")
        parts = {
            f"{start} file://{place}": read[start : start + split_lines] for start in range(0, len(read), split_lines)
        }
        splits = splits_of({key: len(part) for key, part in parts.items()}, place)
        findings = LineFindings()
        for row in rows_of(divider(job, kind, splits, 1)(iter(batches_of(parts, batch_lines)))):
            if row[0] != REPORT:
                rows.append(row)
                continue
            report = pickle.loads(row[-1])  # noqa: S301  # of our own tasks
            assert not report.refused
            findings.add(report.block.findings)
            divided.extent.add(report.block.extent)
        divided.take(kind, findings)
    totals, found = RunTotals.of(job), b""
    if divided.has_users:
        shared = [HistoryRecord._make(row[1:]) for row in rows if row[0] < 0]
        replay = replayer(job, span_of(divided.extent, until_ms), shared)
        for batch in partitions_of(rows, partition_users):
            for is_report, payload in rows_of(replay(iter([batch]))):
                if is_report:
                    totals.add(pickle.loads(payload))  # noqa: S301  # of our own tasks
                else:
                    found += payload
    spark = totals.run(job, divided, 0.0)
    assert found == decisions.getvalue()
    assert orjson.dumps(spark.summary()) == orjson.dumps(native.summary())


def batches_of(parts: dict[str, list[bytes]], size: int) -> list[pa.RecordBatch]:
    """The lines of splits, one behind the other, in batches that may have lines of many splits."""
    rows = [{"split": key, "line": line} for key, part in parts.items() for line in part]
    schema = pa.schema([("split", pa.string()), ("line", pa.binary())])
    return [pa.RecordBatch.from_pylist(rows[at : at + size], schema) for at in range(0, len(rows), size)]


def rows_of(batches: Any) -> list[Row]:
    return [row for batch in batches for row in zip(*(each.to_pylist() for each in batch.columns), strict=True)]


def partitions_of(rows: list[Row], users: int) -> list[pa.RecordBatch]:
    """The records of users, sorted, with some users in each partition."""
    own = [list(each) for _, each in groupby(sorted(row for row in rows if row[0] >= 0), itemgetter(0, 1))]
    names = ("bucket", *HistoryRecord._fields)
    bounds = [*range(0, len(own), users), len(own)]
    return [
        pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for each in own[a:b] for row in each])
        for a, b in pairwise(bounds)
        if b > a
    ]
