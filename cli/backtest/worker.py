"""What one process of a backtest does: it divides blocks of the log among buckets, then replays buckets.

`RecordPlayer` reads and replays without files of its own; `BacktestWorker` keeps records in files between the two.
A bucket has the users whose hash leads to it. What a process finds depends on the block or the bucket alone, so a
backtest has the same result whatever process does what.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from xxhash import xxh3_64_intdigest

from cli.backtest.job import BacktestJob
from cli.backtest.record_files import Frame, read_frames, sorted_records, write_frame
from cli.rules.event_log import EventReader, LineFindings, LineReader, outcome_of_line, profile_of_line
from cli.rules.log_blocks import LineBlock
from triggers.cases.backtest_tally import BacktestTally
from triggers.cases.broadcast_index import BroadcastIndex
from triggers.cases.history_records import HistoryRecord, LogExtent, RecordKind, RecordMaker
from triggers.cases.set_comparison import SetComparison
from triggers.cases.user_replay import Cause, ReplaySpan, UserReplay, replay_users
from triggers.engine.evaluation import Effects
from triggers.engine.fast_path import FastPath

SHARED = "shared"
"""The name of the files of events without a user, whom every bucket reads."""
NO_BUCKET = -1
MAX_MARKED = 100_000
"""Users of whom a process knows that they are to get a mark, so that most are written once. More do no harm."""


class Input(StrEnum):
    """What a file has."""

    EVENTS = "events"
    PROFILES = "profiles"
    OUTCOMES = "outcomes"


@dataclass(slots=True)
class BlockReport:
    """What a block had."""

    kind: Input
    extent: LogExtent = field(default_factory=LogExtent)
    findings: LineFindings = field(default_factory=LineFindings)
    records: int = 0


@dataclass(slots=True)
class BucketReport:
    """What came of the users of a bucket: a tally for each set of rules, and the comparison of two."""

    bucket: int
    tallies: list[BacktestTally] = field(default_factory=list)
    comparison: SetComparison | None = None
    records: int = 0
    decisions: Path | None = None
    """The file of decisions, as lines of JSON."""


def bucket_of(user_id: str, buckets: int) -> int:
    """The bucket of a user, from 0; `NO_BUCKET` for nobody."""
    return xxh3_64_intdigest(user_id.encode()) % buckets if user_id else NO_BUCKET


class BacktestWorker:
    """One process's part in a job. Its files are in `folder`, under its `name`."""

    def __init__(self, job: BacktestJob, folder: Path, name: str, buckets: int) -> None:
        self._job = job
        self._folder = folder
        self._name = name
        self._buckets = buckets
        self._player = RecordPlayer(job)
        self._indexes: list[BroadcastIndex] | None = None
        self._files: dict[str, IO[bytes]] = {}
        self._marked: set[str] = set()

    def divide(self, kind: Input, name: str, block: LineBlock) -> BlockReport:
        """Writes the records of a block to the files of their buckets."""
        report, marked = BlockReport(kind), set[str]()
        frames: defaultdict[int, Frame] = defaultdict(Frame)
        for record in self._player.records(report, name, block, marked):
            frames[bucket_of(record.user_id, self._buckets)].records.append(record)
            report.records += 1
        for user_id in self._unwritten(marked):
            frames[bucket_of(user_id, self._buckets)].marked.append(user_id)
        for bucket, frame in frames.items():
            self._write(SHARED if bucket == NO_BUCKET else f"{bucket:03d}", frame)
        return report

    def _unwritten(self, marked: set[str]) -> set[str]:
        """Those of the users who are not yet written as marked, as far as they are remembered."""
        new = marked - self._marked
        if len(self._marked) + len(new) > MAX_MARKED:
            self._marked.clear()
        self._marked |= new
        return new

    def _write(self, name: str, frame: Frame) -> None:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = (self._folder / f"{name}.{self._name}").open("wb")
        write_frame(file, frame)

    def _broadcasts(self) -> list[BroadcastIndex]:
        """For each set of rules the events without a user, which all processes have written by now."""
        if self._indexes is None:
            files = sorted(self._folder.glob(f"{SHARED}.*"))
            records = [record for file in files for frame in read_frames(file) for record in frame.records]
            self._indexes = self._player.broadcasts(records)
        return self._indexes

    def replay(self, bucket: int, span: ReplaySpan) -> BucketReport:
        """Replays the users of a bucket, whose files it removes."""
        report = BucketReport(bucket)
        files = sorted(self._folder.glob(f"{bucket:03d}.*"))
        scratch = self._folder / f"sorted-{bucket:03d}"
        records = self._counted(sorted_records(files, scratch, self._job.piece_bytes), report)
        if self._job.write_decisions:
            report.decisions = self._folder / f"decisions-{bucket:03d}"
            with report.decisions.open("wb") as lines:
                self._player.play(records, self._broadcasts(), span, report, lines.write)
        else:
            self._player.play(records, self._broadcasts(), span, report, None)
        for file in files:
            file.unlink()
        return report

    def _counted(self, records: Iterator[HistoryRecord], report: BucketReport) -> Iterator[HistoryRecord]:
        for record in records:
            report.records += record.kind != RecordKind.MARK
            yield record


class RecordPlayer:
    """The rules of a job, which read lines as records and replay records. It has no files."""

    def __init__(self, job: BacktestJob) -> None:
        self._job = job
        self._evaluators = job.evaluators()
        self._fast_paths = [FastPath(each.rules) for each in self._evaluators]

    def records(self, report: BlockReport, name: str, block: LineBlock, marked: set[str]) -> Iterator[HistoryRecord]:
        """The records of a block of a file of the report's kind. With the last, the report has what the block had, and
        `marked` the users who are to get a mark."""
        maker = RecordMaker(self._evaluators, "event_time", self._job.until_ms, self._job.user)
        report.extent, maker.marked = maker.extent, marked
        return _records(self._reader(report, name), block, maker)

    def _reader(self, report: BlockReport, name: str) -> LineReader[Any]:
        reader: LineReader[Any]
        match report.kind:
            case Input.EVENTS:
                reader = EventReader(name, self._job.strict)
            case Input.PROFILES:
                reader = LineReader(name, "a profile", profile_of_line, self._job.strict)
            case Input.OUTCOMES:
                reader = LineReader(name, "an outcome", outcome_of_line, self._job.strict)
        report.findings = reader.findings
        return reader

    def broadcasts(self, records: Sequence[HistoryRecord]) -> list[BroadcastIndex]:
        """For each set of rules the events without a user."""
        return [BroadcastIndex(each, records) for each in self._evaluators]

    def play(
        self,
        records: Iterator[HistoryRecord],
        indexes: Sequence[BroadcastIndex],
        span: ReplaySpan,
        report: BucketReport,
        write_line: Callable[[bytes], object] | None,
    ) -> None:
        """Replays users, whose records are sorted; the report gets what came of them, and `write_line` the decisions as
        lines of JSON."""

        def write(_cause: Cause, effects: Effects, _at_ms: int) -> None:
            assert write_line is not None
            for record in effects.records:
                write_line(record.decision_json() + b"\n")

        last = len(self._evaluators) - 1
        replays = [
            UserReplay(each, span, fast_path, index, assume_consent=self._job.profiles is None)
            for each, fast_path, index in zip(self._evaluators, self._fast_paths, indexes, strict=True)
        ]
        if write_line is not None:
            replays[last].watch = write
        report.tallies = [each.tally for each in replays]
        if last == 0:
            replay_users(replays, records)
            return
        old, new = replays
        comparison = report.comparison = SetComparison(old.tally, new.tally)

        def finished(user_id: str, _states: Sequence[bytes | None]) -> None:
            comparison.user(user_id, old.sent, new.sent)

        replay_users(replays, records, finished)


def _records(reader: LineReader[Any], block: LineBlock, maker: RecordMaker) -> Iterator[HistoryRecord]:
    """The records of a block."""
    facts = reader.read(block)
    if isinstance(reader, EventReader):
        for number, (user_id, event) in facts:  # most events of a long log make none
            if (record := maker.event(user_id, event, number)) is not None:
                yield record
        return
    if reader.parse is profile_of_line:
        made = (maker.profile(profile, at_ms, number) for number, (at_ms, profile) in facts)
    else:
        made = (maker.outcome(outcome, number) for number, outcome in facts)
    yield from (record for record in made if record is not None)
