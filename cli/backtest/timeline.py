"""One user's timeline in a backtest: what happened, and each gate of each decision."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from rich.console import Console

from cli.backtest.job import BacktestJob, BacktestProblem
from cli.backtest.processes import ThisProcess
from cli.backtest.record_files import sorted_records
from cli.backtest.run import divide, sources_of
from cli.backtest.worker import SHARED
from cli.options import print_json
from cli.rules.decision_words import headline
from cli.scratch_folder import scratch_folder
from cli.step_printer import StepPrinter
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.wording import counted
from triggers.cases.backtest import span_of
from triggers.cases.broadcast_index import BroadcastIndex
from triggers.cases.history_records import HistoryRecord, LogExtent
from triggers.cases.user_replay import Cause, UserReplay, replay_users
from triggers.cel.runtime import as_time
from triggers.engine.evaluation import Effects
from triggers.engine.gates.stored import time_words
from triggers.engine.gates.table import gate_words
from triggers.rules.events import StoredEvent


@dataclass(frozen=True, slots=True)
class ReplayedMoment:
    """Something that was applied to the user, and what rules made of it."""

    at_ms: int
    what: str
    decisions: list[Decision] = field(default_factory=list)
    exits: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def says_something(self) -> bool:
        """Whether it is more than a timer at which nothing was decided."""
        return bool(self.what or self.decisions or self.exits or self.problems or self.counts)


def read_timeline(job: BacktestJob, user: str, printer: StepPrinter) -> list[ReplayedMoment]:
    """The user's timeline. Raises BadLog, and BacktestProblem if the log does not have the user."""
    with scratch_folder("ebbtide-backtest-") as folder:
        log = divide(ThisProcess(job, folder, 1), sources_of(job), printer)
        files = sorted(folder.iterdir())
        shared = [file for file in files if file.name.startswith(SHARED)]
        own = [file for file in files if file not in shared]
        records = sorted_records(own, folder / "sorted", job.piece_bytes)
        broadcasts = sorted_records(shared, folder / "sorted", job.piece_bytes)
        return timeline_of(job, user, log.extent, broadcasts, records)


def timeline_of(
    job: BacktestJob,
    user: str,
    extent: LogExtent,
    broadcasts: Iterable[HistoryRecord],
    records: Iterable[HistoryRecord],
) -> list[ReplayedMoment]:
    """The timeline of a user, of whom `records` has all, sorted. Raises BacktestProblem if there are none."""
    entries: list[ReplayedMoment] = []

    def watch(cause: Cause, effects: Effects, at_ms: int) -> None:
        entry = _entry(cause, effects, at_ms)
        if entry.says_something:
            entries.append(entry)

    evaluator = job.sets[-1].evaluator(job.default_zone)
    index, span = BroadcastIndex(evaluator, broadcasts), span_of(extent, job.until_ms)
    replay = UserReplay(evaluator, span, None, index, assume_consent=job.profiles is None, watch=watch)
    replay_users([replay], records)
    if not replay.tally.users:
        raise BacktestProblem(f"--user: {user} has no event in {job.events}")
    return entries


def _entry(cause: Cause, effects: Effects, at_ms: int) -> ReplayedMoment:
    return ReplayedMoment(
        at_ms,
        _what(cause),
        effects.decisions,
        [f"{each.trigger} ended by {each.event_type}" for each in effects.exits],
        [f"{each.trigger} {each.place}: {each.detail}" for each in effects.problems],
        dict(effects.counts),
    )


def _what(cause: Cause) -> str:
    match cause:
        case StoredEvent():
            return f"event {cause.type} {cause.id}"
        case Profile():
            return "profile"
        case Outcome():
            return f"outcome {cause.kind} {cause.id}"
    return ""


def show(console: Console, entries: list[ReplayedMoment], *, as_json: bool) -> None:
    """Prints the timeline, or a line of JSON for each entry."""
    for entry in entries:
        if as_json:
            print_json(_as_json(entry))
        else:
            for text, style in _lines(entry):
                console.print(text, style=style, markup=False, soft_wrap=True)
    if not as_json and not entries:
        console.print("no event of the user concerns a rule")


def _lines(entry: ReplayedMoment) -> Iterator[tuple[str, str]]:
    """The lines of an entry, each with its style."""
    if entry.what or not entry.decisions:
        yield f"{time_words(as_time(entry.at_ms))}  {entry.what or 'timer'}", ""
    for name, count in sorted(entry.counts.items()):
        yield f"  {name}: {counted(count, 'time')}", "dim"
    for text in entry.exits:
        yield f"  {text}", "dim"
    for decision in entry.decisions:
        yield headline(decision), "bold"
        for answer in decision.gates:
            yield f"  {'✓' if answer.passed else '✗'} {answer.gate:<12}{gate_words(answer)}", ""
    for text in entry.problems:
        yield f"  problem: {text}", "red"


def _as_json(entry: ReplayedMoment) -> dict[str, Any]:
    found: dict[str, Any] = {"at": as_time(entry.at_ms).isoformat(), "what": entry.what or "timer"}
    more = {"exits": entry.exits, "problems": entry.problems, "counts": entry.counts}
    decisions = [orjson.loads(each.model_dump_json(exclude_none=True)) for each in entry.decisions]
    return found | {name: value for name, value in more.items() if value} | {"decisions": decisions}
