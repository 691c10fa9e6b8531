"""Runs a backtest: the log is divided among buckets of users, then each bucket is replayed; all on every core."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from shutil import copyfileobj
from time import monotonic
from typing import IO, Any

from cli.backtest.job import BUCKETS, BacktestJob
from cli.backtest.processes import BacktestWorkers, ThisProcess, closed_pipes_as_errors, worker_processes
from cli.backtest.worker import BacktestWorker, BlockReport, BucketReport, Input
from cli.rules.event_log import LineFindings, SkippedLines
from cli.rules.log_blocks import BLOCK_BYTES, SHORT_ROWS, LineBlock, LogFile
from cli.scratch_folder import scratch_folder
from cli.step_printer import StepPrinter, time_left
from triggers.cases.backtest import BacktestResult, BacktestScope, UserEvent, play, result_of, span_of
from triggers.cases.backtest_tally import BacktestTally
from triggers.cases.history_records import LogExtent
from triggers.cases.set_comparison import SetComparison
from triggers.cel.runtime import as_time
from triggers.engine.evaluator import Evaluator
from triggers.measures.shapes import MS
from triggers.rules.ruleset import RuleSet

_WHAT = {Input.EVENTS: "an event", Input.PROFILES: "a profile", Input.OUTCOMES: "an outcome"}


@dataclass(slots=True)
class BacktestRun:
    """A backtest, how long it took, and the skipped lines of its files. With a `comparison`, `result` is that of the
    new rules."""

    result: BacktestResult
    took_s: float
    skipped: list[SkippedLines] = field(default_factory=list)
    comparison: SetComparison | None = None

    @property
    def has_no_events(self) -> bool:
        """Whether the files have no event, not even after the end."""
        return not self.result.extent.events and not self.result.extent.after_end

    def crossings(self) -> list[datetime]:
        """The instants after the last event at which a user's score will cross the line of a rule."""
        levels = (level for user in self.result.states for level in self.result.state(user).levels.values())
        return [datetime.fromtimestamp(level.due / 1000, UTC) for level in levels if level.due is not None]

    def summary(self) -> dict[str, Any]:
        """The figures for `--json`."""
        result = self.result
        found = {
            "events": result.extent.events,
            "users": result.users,
            "users_reached": result.reached,
            "from": moment(result.extent.first_ms),
            "to": moment(result.extent.last_ms),
            "sends_by_trigger": dict(sorted(result.sends_by_trigger().items())),
            "users_by_trigger": dict(sorted(result.reached_by.items())),
            "sends_by_day": {day_text(day): n for day, n in sorted(result.sends_by_day.items())},
            "sends_by_week": {
                week: {t: n for (t, w), n in sorted(result.sends.items()) if w == week}
                for week in sorted({w for _, w in result.sends})
            },
            "sends_by_hour_of_week": [result.hours[hour] for hour in range(168)],
            "decisions": [
                {"trigger": t, "outcome": o, "reason": r or None, "count": n}
                for (t, o, r), n in sorted(result.decisions.items())
            ],
            "full_caps": [{"trigger": t, "cap": cap, "count": n} for (t, cap), n in sorted(result.caps.items())],
            "counts": dict(sorted(result.counts.items())),
            "problems": [{"trigger": p.trigger, "place": p.place, "detail": p.detail} for p in result.problems],
            "skipped": [asdict(each) for each in self.skipped],
            "notes": result.notes,
        }
        return found if self.comparison is None else found | {"against": self.comparison.summary()}


def run_in_memory(rules: RuleSet, events: Iterable[UserEvent]) -> BacktestRun:
    """Runs rules over a short log, with nothing but its events; keeps the states at the end."""
    began = monotonic()
    result = play(Evaluator(rules), events, scope=BacktestScope())
    return BacktestRun(result, monotonic() - began)


def run_backtest(
    job: BacktestJob,
    printer: StepPrinter,
    decisions: IO[bytes] | None = None,
    *,
    processes: int | None = None,
    buckets: int | None = None,
) -> BacktestRun:
    """Runs a job in as many processes as there are cores, or in `processes` (0 is this one); a short log in this one.
    The result does not depend on their number. `decisions` gets the decisions as lines of JSON, if the job writes them:
    bucket by bucket, and in each by user. A short log has one bucket.

    Raises BadLog with file and line, and ProcessDied. Nothing is left in the folder of temporary files.
    """
    began = monotonic()
    with closed_pipes_as_errors(), scratch_folder("ebbtide-backtest-") as folder:
        sources = sources_of(job)
        is_short = all(source.is_short() for source in sources)
        buckets = buckets or (1 if is_short else BUCKETS)
        number = (0 if is_short else cores()) if processes is None else processes
        with _workers(job, folder, buckets, number) as workers:
            log = divide(workers, sources, printer)
            return _replay(workers, job, log, buckets, printer, decisions, began)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _workers(job: BacktestJob, folder: Path, buckets: int, number: int) -> AbstractContextManager[BacktestWorkers]:
    return worker_processes(job, folder, buckets, number) if number else nullcontext(ThisProcess(job, folder, buckets))


class LogSource:
    """A file of the job, of which the first blocks may have been read to see whether it is short."""

    def __init__(self, kind: Input, file: LogFile) -> None:
        self.kind = kind
        self.file = file
        self.total = file.total()
        self._read: list[LineBlock] = []
        self._coming = file.blocks()

    def is_short(self) -> bool:
        """Whether one process does best to read it alone: it is no more than a block, or a few rows."""
        if self.file.is_parquet:
            return self.total is not None and self.total <= SHORT_ROWS
        if self.total is not None and self.total > BLOCK_BYTES:
            return False
        self._read = list(islice(self._coming, 2))
        return len(self._read) < 2

    def blocks(self) -> Iterator[LineBlock]:
        """All blocks."""
        return chain(self._read, self._coming)


def sources_of(job: BacktestJob) -> list[LogSource]:
    """The files of a job; raises BadLog for one that cannot be read."""
    files = [(Input.EVENTS, job.events), (Input.PROFILES, job.profiles), (Input.OUTCOMES, job.outcomes)]
    return [LogSource(kind, LogFile(path, job.names.get(path, ""))) for kind, path in files if path is not None]


@dataclass(slots=True)
class DividedLog:
    """What the files had, whose records are now in buckets."""

    extent: LogExtent = field(default_factory=LogExtent)
    skipped: list[SkippedLines] = field(default_factory=list)
    beside: set[str] = field(default_factory=set)
    records: int = 0

    @property
    def has_users(self) -> bool:
        """Whether an event has a user, so that there is something to replay."""
        return self.extent.events > self.extent.without_user

    def take(self, kind: Input, findings: LineFindings, *, strict: bool = False) -> None:
        """Adds what was found in a whole file beside facts. Raises BadLog if no line is what it should be, or with
        `strict` if one is not."""
        if strict:
            findings.refuse_if_any(_WHAT[kind])
        findings.refuse_if_none(_WHAT[kind])
        self.skipped += findings.skipped.values()
        self.beside |= findings.beside


@dataclass(slots=True)
class RunTotals:
    """What came of all users: a tally, or the comparison of two sets of rules."""

    tally: BacktestTally = field(default_factory=BacktestTally)
    comparison: SetComparison | None = None

    @classmethod
    def of(cls, job: BacktestJob) -> "RunTotals":
        """Nothing yet."""
        return cls(comparison=SetComparison() if len(job.sets) > 1 else None)

    def add(self, report: BucketReport) -> None:
        """Adds what came of other users. Problems are kept in the order of the calls."""
        if self.comparison is not None and report.comparison is not None:
            self.comparison.add(report.comparison)
        else:
            self.tally.add(report.tallies[0])

    def run(self, job: BacktestJob, log: DividedLog, began: float) -> BacktestRun:
        """The backtest as a whole, begun at a reading of the monotonic clock."""
        evaluator = job.sets[-1].evaluator(job.default_zone)
        tally = self.tally if self.comparison is None else self.comparison.new
        result = result_of(tally, log.extent, evaluator, job.scope)
        result.notes += note_beside(log.beside)
        return BacktestRun(result, monotonic() - began, log.skipped, self.comparison)


def divide(workers: BacktestWorkers, sources: Iterable[LogSource], printer: StepPrinter) -> DividedLog:
    """Divides files among the buckets; raises BadLog if none of the lines of a file is what it should be."""
    log = DividedLog()
    for source in sources:
        _divide(workers, source, printer, log)
    return log


def _divide(workers: BacktestWorkers, source: LogSource, printer: StepPrinter, log: DividedLog) -> None:
    findings, began = LineFindings(), monotonic()
    done: list[int] = []

    def calls() -> Iterator[tuple[Input, str, LineBlock]]:
        for block in source.blocks():
            done.append(block.done)
            yield source.kind, source.file.name, block

    with printer.step(f"read {source.file.name}", source.total) as step:
        reports: Iterator[BlockReport] = workers.each(BacktestWorker.divide, calls())
        for number, report in enumerate(reports):
            findings.add(report.findings)
            log.extent.add(report.extent)
            log.records += report.records
            step.at(done[number], time_left(done[number], source.total, began))
    log.take(source.kind, findings)


def _replay(
    workers: BacktestWorkers,
    job: BacktestJob,
    log: DividedLog,
    buckets: int,
    printer: StepPrinter,
    decisions: IO[bytes] | None,
    began: float,
) -> BacktestRun:
    totals = RunTotals.of(job)
    extent, done, replay_began = log.extent, 0, monotonic()
    with printer.step("backtest", log.records) as step:
        span = span_of(extent, job.until_ms)
        calls = ((bucket, span) for bucket in range(buckets)) if log.has_users else ()
        for report in workers.each(BacktestWorker.replay, calls):
            totals.add(report)
            if decisions is not None and report.decisions is not None:
                _move(report.decisions, decisions)
            done += report.records
            step.at(done, time_left(done, log.records, replay_began))
    return totals.run(job, log, began)


def _move(lines: Path, out: IO[bytes]) -> None:
    with lines.open("rb") as file:
        copyfileobj(file, out)
    lines.unlink()


def note_beside(beside: set[str]) -> list[str]:
    """A note about fields outside of the events' `properties`; none if there are no such fields."""
    if not beside:
        return []
    first = min(beside)
    form = f'{{"properties": {{"{first}": …}}}}'
    return [f"{', '.join(sorted(beside)[:10])}: ignored outside of `properties`; write {form}"]


def day_text(number: int) -> str:
    """A day, counted from 1970-01-01, as ISO 8601."""
    return as_time(number * MS["d"]).date().isoformat()


def moment(ms: int | None) -> str:
    """An instant as ISO 8601; empty for None."""
    return "" if ms is None else as_time(ms).isoformat()
