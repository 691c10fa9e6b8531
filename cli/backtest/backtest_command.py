"""`ebbtide backtest`: what rules would have sent. Other modules do the work."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from signal import SIGPIPE
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.options import console, print_json, say_written

if TYPE_CHECKING:
    from cli.backtest.job import RuleTexts
    from cli.backtest.run import BacktestRun
    from cli.backtest.timeline import ReplayedMoment

_LINES = "JSON lines (.gz too) or Parquet"


class BacktestEngine(StrEnum):
    """What a backtest runs on: the cores of this machine, or Spark."""

    NATIVE = "native"
    SPARK = "spark"


def backtest(
    paths: Annotated[list[Path], typer.Argument(help="Rule files, or folders of them.", show_default=False)],
    events: Annotated[str, typer.Option(help=f"Events as {_LINES}; - for standard input.", metavar="FILE")],
    profiles: Annotated[
        str | None,
        typer.Option(help=f"Profiles as {_LINES}; default: everybody consents, in --zone.", metavar="FILE"),
    ] = None,
    outcomes: Annotated[
        str | None, typer.Option(help=f"Outcomes of past mails as {_LINES}; default: none.", metavar="FILE")
    ] = None,
    zone: Annotated[str, typer.Option(help="The zone of users whose profile has none.")] = "UTC",
    until: Annotated[
        str | None, typer.Option(help="The end, such as 2026-05-31T22:00:00Z; default: the last event.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Other rules, a file or folder, that the rules are compared with.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Show this user's timeline, with every gate.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with plots to this file.", dir_okay=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line for each decision, then the summary.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first line that cannot be read.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one for each core.")] = None,
    engine: Annotated[
        BacktestEngine, typer.Option(help="spark: for logs beyond one machine; files may be folders and URLs.")
    ] = BacktestEngine.NATIVE,
) -> None:
    """Run the rules over a log of past events, and show what they would have sent.

    An event is a line such as {"id": "1", "user_id": "u1", "type": "cart_updated", "time": "2026-05-01T10:00:00Z",
    "properties": {"cart_id": "c1"}}. Lines that are not events are skipped and counted by kind. Exits with 2 if no line
    is an event, also of an empty log, or with --strict at the first line that is not one. The log may have any length.
    Its records are kept in TMPDIR until the command ends.

    Example: `ebbtide backtest examples --events log.jsonl --profiles people.jsonl --html page.html`
    """
    from cli.backtest import page, tables, timeline
    from cli.backtest.job import BacktestJob, BacktestProblem
    from cli.backtest.run import run_backtest
    from cli.backtest.spark.session import require_packages
    from cli.step_printer import StepPrinter
    from schemas.zones import zone_hint, zone_named
    from triggers.cel.runtime import as_ms

    if zone_named(zone) is None:
        raise BacktestProblem(f"--zone: unknown time zone {zone!r}; {zone_hint(zone)}")
    if user is not None and (against or html):
        raise BacktestProblem("--user: shows one user's timeline; leave out --against and --html")
    if engine is BacktestEngine.SPARK:
        require_packages()
        if processes is not None:
            raise BacktestProblem("--processes: with --engine spark, spark.master says how many, such as local[4]")
    sets = [_texts(against)] if against is not None else []
    job = BacktestJob(
        sets=(*sets, _texts(*paths)),
        events=Path(events),
        profiles=None if profiles is None else Path(profiles),
        outcomes=None if outcomes is None else Path(outcomes),
        default_zone=zone,
        until_ms=None if until is None else as_ms(_moment(until)),
        strict=strict,
        user=user,
        write_decisions=as_json,
    )
    job.evaluators()  # a mistake in the rules is reported before a long log is read
    printer = StepPrinter(Console(stderr=True))
    play: Callable[..., BacktestRun] = partial(run_backtest, processes=processes)
    read_timeline: Callable[..., list[ReplayedMoment]] = timeline.read_timeline
    if engine is BacktestEngine.SPARK:
        from cli.backtest.spark import run as spark

        places = spark.places_of(events, profiles, outcomes)
        play, read_timeline = partial(spark.run_on_spark, places), partial(spark.read_timeline_on_spark, places)
    if job.user is not None:
        timeline.show(console, read_timeline(job, job.user, printer), as_json=as_json)
        return
    with page.opened(html) as file:
        try:
            run = play(job, printer, sys.stdout.buffer if as_json else None)
        except BrokenPipeError:  # as of `head`: there is nobody to tell
            raise SystemExit(128 + SIGPIPE) from None
        if run.has_no_events:
            raise BacktestProblem(f"--events: no event in {events}")
        if file is not None:
            file.write(page.page(run, job).encode())
    if html is not None:
        say_written(html)
    if as_json:
        print_json({"summary": run.summary()})
    else:
        tables.show_backtest(console, run)


def _texts(*paths: Path) -> "RuleTexts":
    from cli.backtest.job import RuleTexts
    from cli.rules.rule_folder import read_folder

    folder = read_folder(*paths)
    for warning in folder.passed_over:
        typer.echo(str(warning), err=True)
    return RuleTexts(folder.rules, folder.template_hashes())


def _moment(text: str) -> datetime:
    """An instant as ISO 8601, in UTC without an offset."""
    from cli.backtest.job import BacktestProblem

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BacktestProblem(f"--until: {text!r} is not a time; write 2026-05-31T22:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
