"""`ebbtide backtest`: what rules would have sent. Other modules do the work."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from signal import SIGPIPE
from typing import IO, TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console

from cli.options import console, print_json, say_written

if TYPE_CHECKING:
    from cli.backtest.job import BacktestJob, RuleTexts
    from cli.backtest.run import BacktestRun
    from cli.backtest.timeline import ReplayedMoment
    from cli.step_printer import StepPrinter

_LINES = "JSON lines (.gz too) or Parquet"


class BacktestEngine(StrEnum):
    """What a backtest runs on: the cores of this machine, or Spark."""

    NATIVE = "native"
    SPARK = "spark"


class _Runner(NamedTuple):
    """How an engine plays a job, and reads the timeline of one user."""

    play: "Callable[[BacktestJob, StepPrinter, IO[bytes] | None], BacktestRun]"
    read_timeline: "Callable[[BacktestJob, str, StepPrinter], list[ReplayedMoment]]"


Rules = Annotated[list[Path], typer.Argument(help="Rule files, or folders of them.", show_default=False)]
Events = Annotated[str, typer.Option(help=f"Events as {_LINES}; - for standard input.", metavar="FILE")]
Profiles = Annotated[
    str | None, typer.Option(help=f"Profiles as {_LINES}; default: everybody consents, in --zone.", metavar="FILE")
]
Outcomes = Annotated[
    str | None, typer.Option(help=f"Outcomes of past mails as {_LINES}; default: none.", metavar="FILE")
]
Zone = Annotated[str, typer.Option(help="The zone of users whose profile has none.")]
Until = Annotated[str | None, typer.Option(help="The end, such as 2026-05-31T22:00:00Z; default: the last event.")]
Against = Annotated[Path | None, typer.Option(help="Other rules, a file or folder, that the rules are compared with.")]
OneUser = Annotated[str | None, typer.Option(help="Show this user's timeline, with every gate.")]
Html = Annotated[Path | None, typer.Option(help="Also write a page with plots to this file.", dir_okay=False)]
AsLines = Annotated[bool, typer.Option("--json", help="Print a line for each decision, then the summary.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first line that cannot be read.")]
Processes = Annotated[int | None, typer.Option(min=1, help="Default: one for each core.")]
EngineKind = Annotated[
    BacktestEngine, typer.Option(help="spark: for logs beyond one machine; files may be folders and URLs.")
]


def backtest(
    paths: Rules,
    events: Events,
    profiles: Profiles = None,
    outcomes: Outcomes = None,
    zone: Zone = "UTC",
    until: Until = None,
    against: Against = None,
    user: OneUser = None,
    html: Html = None,
    as_json: AsLines = False,
    strict: Strict = False,
    processes: Processes = None,
    engine: EngineKind = BacktestEngine.NATIVE,
) -> None:
    """Run the rules over a log of past events, and show what they would have sent.

    An event is a line such as {"id": "1", "user_id": "u1", "type": "cart_updated", "time": "2026-05-01T10:00:00Z",
    "properties": {"cart_id": "c1"}}. Lines that are not events are skipped and counted by kind. Exits with 2 if no line
    is an event, also of an empty log, or with --strict at the first line that is not one. The log may have any length.
    Its records are kept in TMPDIR until the command ends.

    Example: `ebbtide backtest examples --events log.jsonl --profiles people.jsonl --html page.html`
    """
    from cli.backtest import tables, timeline
    from cli.backtest.job import BacktestJob
    from cli.step_printer import StepPrinter

    _check_options(zone, user, against or html)
    runner = _runner(engine, processes, events, profiles, outcomes)
    job = BacktestJob(
        sets=(*([_texts(against)] if against is not None else []), _texts(*paths)),
        events=Path(events),
        profiles=None if profiles is None else Path(profiles),
        outcomes=None if outcomes is None else Path(outcomes),
        default_zone=zone,
        until_ms=None if until is None else _moment(until),
        strict=strict,
        user=user,
        write_decisions=as_json,
    )
    job.evaluators()  # a mistake in the rules is reported before a long log is read
    printer = StepPrinter(Console(stderr=True))
    if user is not None:
        timeline.show(console, runner.read_timeline(job, user, printer), as_json=as_json)
        return
    run = _played(runner, job, printer, html)
    if as_json:
        print_json({"summary": run.summary()})
    else:
        tables.show_backtest(console, run)


def _check_options(zone: str, user: str | None, of_all_users: Path | None) -> None:
    """Raises BacktestProblem for an unknown zone, and for options about all users beside one user."""
    from cli.backtest.job import BacktestProblem
    from schemas.zones import zone_hint, zone_named

    if zone_named(zone) is None:
        raise BacktestProblem(f"--zone: unknown time zone {zone!r}; {zone_hint(zone)}")
    if user is not None and of_all_users is not None:
        raise BacktestProblem("--user: shows one user's timeline; leave out --against and --html")


def _runner(
    engine: BacktestEngine, processes: int | None, events: str, profiles: str | None, outcomes: str | None
) -> _Runner:
    """What plays these files; raises BacktestProblem for what the engine does not take."""
    from cli.backtest.job import BacktestProblem
    from cli.backtest.run import run_backtest
    from cli.backtest.spark.session import require_packages
    from cli.backtest.timeline import read_timeline

    if engine is BacktestEngine.NATIVE:
        return _Runner(partial(run_backtest, processes=processes), read_timeline)
    require_packages()
    if processes is not None:
        raise BacktestProblem("--processes: with --engine spark, spark.master says how many, such as local[4]")
    from cli.backtest.spark import run as spark

    places = spark.places_of(events, profiles, outcomes)
    return _Runner(partial(spark.run_on_spark, places), partial(spark.read_timeline_on_spark, places))


def _played(runner: _Runner, job: "BacktestJob", printer: "StepPrinter", html: Path | None) -> "BacktestRun":
    """The run of a job over all users. Decisions that the job writes go to standard output, its page to a file."""
    from cli.backtest import page
    from cli.backtest.job import BacktestProblem

    with page.opened(html) as file:
        try:
            run = runner.play(job, printer, sys.stdout.buffer if job.write_decisions else None)
        except BrokenPipeError:  # as of `head`: there is nobody to tell
            raise SystemExit(128 + SIGPIPE) from None
        if run.has_no_events:
            raise BacktestProblem(f"--events: no event in {job.events}")
        if file is not None:
            file.write(page.page(run, job).encode())
    if html is not None:
        say_written(html)
    return run


def _texts(*paths: Path) -> "RuleTexts":
    from cli.backtest.job import RuleTexts
    from cli.rules.rule_folder import read_folder

    folder = read_folder(*paths)
    for warning in folder.passed_over:
        typer.echo(str(warning), err=True)
    return RuleTexts(folder.rules, folder.template_hashes())


def _moment(text: str) -> int:
    """An instant as ISO 8601, in UTC without an offset, in milliseconds."""
    from cli.backtest.job import BacktestProblem
    from triggers.cel.runtime import as_ms

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BacktestProblem(f"--until: {text!r} is not a time; write 2026-05-31T22:00:00Z") from None
    return as_ms(found if found.tzinfo else found.replace(tzinfo=UTC))
