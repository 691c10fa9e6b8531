"""Runs a backtest on Spark: the same reading, rules and sums as `cli.backtest.run`, on other machines.

Spark reads the log in splits and keeps their records on its executors' disks, then sorts the records by user and
replays each partition of users. Buckets only give decisions and problems the order that they have natively.
"""

import pickle
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from cli.backtest.job import BUCKETS, BacktestJob
from cli.backtest.processes import closed_pipes_as_errors
from cli.backtest.run import BacktestRun, DividedLog, RunTotals, sources_of
from cli.backtest.spark.log import open_log
from cli.backtest.spark.session import failures_to_read, spark_session
from cli.backtest.spark.tasks import RECORDS, REPORT, RESULTS, SplitReport, divider, replayer
from cli.backtest.timeline import ReplayedMoment, timeline_of
from cli.backtest.worker import Input
from cli.rules.event_log import LineFindings
from cli.rules.log_blocks import BadLog
from cli.step_printer import StepPrinter
from triggers.cases.backtest import span_of
from triggers.cases.history_records import HistoryRecord

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_ORDER = ("bucket", "user_id", "at_ms", "rank", "id", "position", "kind")


Places = Mapping[Input, str]
"""Files, folders or patterns, as Spark names them."""


def places_of(events: str, profiles: str | None, outcomes: str | None) -> Places:
    """The logs that there are, in the order in which they are read."""
    named = {Input.EVENTS: events, Input.PROFILES: profiles, Input.OUTCOMES: outcomes}
    return {kind: place for kind, place in named.items() if place is not None}


def run_on_spark(
    places: Places, job: BacktestJob, printer: StepPrinter, decisions: IO[bytes] | None = None
) -> BacktestRun:
    """Runs a job over logs that Spark reads; `decisions` gets the decisions as lines of JSON, if the job writes them.
    Gives what `run_backtest` gives for the same files. Raises BadLog and BacktestProblem."""
    began = monotonic()
    with closed_pipes_as_errors(), spark_session() as session, ExitStack() as kept:
        division = _divided(places, job, _buckets(job, places), printer, session, kept)
        totals = RunTotals.of(job)
        with printer.step("backtest"):
            if division.log.has_users:
                _replay(division, job, totals, decisions, kept)
    return totals.run(job, division.log, began)


def read_timeline_on_spark(places: Places, job: BacktestJob, user: str, printer: StepPrinter) -> list[ReplayedMoment]:
    """What `read_timeline` gives for the same files. The job is of this user alone."""
    with closed_pipes_as_errors(), spark_session() as session, ExitStack() as kept:
        division = _divided(places, job, 1, printer, session, kept)
        records = map(_record, division.records.collect())
    return timeline_of(job, user, division.log.extent, division.broadcasts, records)


def _divided(
    places: Places, job: BacktestJob, buckets: int, printer: StepPrinter, session: "SparkSession", kept: ExitStack
) -> "SparkDivision":
    division = SparkDivision(session, job, buckets, kept)
    for kind, place in places.items():
        with printer.step(f"read {place}"):
            division.take(kind, place)
    return division


def _buckets(job: BacktestJob, places: Places) -> int:
    """As many as natively."""
    are_files = all(Path(place).is_file() for place in places.values())
    return 1 if are_files and all(source.is_short() for source in sources_of(job)) else BUCKETS


class SparkDivision:
    """The records of a job's logs, in Spark, and what is known of them here. `kept` gives up what Spark stored."""

    def __init__(self, session: "SparkSession", job: BacktestJob, buckets: int, kept: ExitStack) -> None:
        self.log = DividedLog()
        self.broadcasts: list[HistoryRecord] = []
        self._session = session
        self._job = job
        self._buckets = buckets
        self._kept = kept
        self._parts: list[DataFrame] = []

    def take(self, kind: Input, place: str) -> None:
        """Divides a log; raises BadLog."""
        from pyspark.sql import functions as F  # noqa: N812
        from pyspark.storagelevel import StorageLevel

        log = open_log(self._session, kind, place)
        divide = divider(self._job, kind, log.splits, self._buckets)
        rows = log.lines.mapInArrow(divide, RECORDS).persist(StorageLevel.DISK_ONLY)
        self._kept.callback(rows.unpersist)
        self._parts.append(rows.filter(F.col("bucket") >= 0))
        with failures_to_read(place):
            beside = rows.filter(F.col("bucket") < 0).collect()
        self.broadcasts += [_record(row) for row in beside if row[0] != REPORT]
        reports = [pickle.loads(row[7]) for row in beside if row[0] == REPORT]  # noqa: S301  # of our own tasks
        self._take_reports(kind, sorted(reports, key=lambda report: report.position))

    def _take_reports(self, kind: Input, reports: list[SplitReport]) -> None:
        findings = LineFindings()
        for report in reports:
            if report.refused:
                raise BadLog(report.refused)
            findings.add(report.block.findings)
            self.log.extent.add(report.block.extent)
        self.log.take(kind, findings, strict=self._job.strict)

    @property
    def records(self) -> "DataFrame":
        """The records of users, in as many partitions as Spark finds right, each sorted by bucket and user."""
        first, *more = self._parts
        for part in more:
            first = first.unionByName(part)
        return first.repartitionByRange("bucket", "user_id").sortWithinPartitions(*_ORDER)


def _record(row: Sequence[Any]) -> HistoryRecord:
    _bucket, *values, payload = row
    return HistoryRecord._make((*values, bytes(payload)))


def _replay(
    division: SparkDivision, job: BacktestJob, totals: RunTotals, decisions: IO[bytes] | None, kept: ExitStack
) -> None:
    from pyspark.sql import functions as F  # noqa: N812
    from pyspark.storagelevel import StorageLevel

    replay = replayer(job, span_of(division.log.extent, job.until_ms), division.broadcasts)
    results = division.records.mapInArrow(replay, RESULTS)
    if decisions is not None:
        results = results.persist(StorageLevel.DISK_ONLY)
        kept.callback(results.unpersist)
    for row in results.filter(F.col("is_report")).collect():  # in the order of the partitions
        totals.add(pickle.loads(row["payload"]))  # noqa: S301  # of our own tasks
    if decisions is not None:
        for row in results.filter(~F.col("is_report")).toLocalIterator(prefetchPartitions=True):
            decisions.write(row["payload"])
