"""`ebbtide analytics`: the rollups counted anew, and what is older than analysts keep it dropped."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.auditing import audited
from cli.environment import Environment
from cli.options import AsJson, Instance, console, login, print_json
from cli.step_printer import StepPrinter

if TYPE_CHECKING:
    from psycopg import Connection

HELP = "\n\n".join(
    [
        "The rollups that analysts sum up: count them anew, and drop what is old.",
        "The recorder keeps rollups with the rows, so they need no refresh. Count them anew after an upgrade from a "
        "version without them, or if they were lost.",
        "Examples:",
        "`ebbtide analytics rebuild --from 2026-11-01`",
        "`ebbtide analytics retain --rows 730`",
        "`ebbtide analytics histories`",
    ]
)
app = typer.Typer(help=HELP, short_help="Count rollups anew, and drop what is old.", no_args_is_help=True)
EXIT_INTERRUPTED = 130


@app.command("rebuild")
def rebuild_rollups(
    since: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="The first day, such as 2026-11-01.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last day.")] = None,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Count the rows of these days anew, by default all; delivery and recorders go on meanwhile.

    Rollups outlive the rows: what was counted of rows that are gone stays. While a day is counted, its rollups may say
    less. Interrupted, it stops behind an hour; run it again with --from.

    Example: `ebbtide analytics rebuild --from 2026-11-01 --to 2026-11-30`
    """
    from senders.recording import rebuild

    first, last = _day(since, "--from"), _day(to, "--to")
    began_s, done, rows = time.monotonic(), 0, 0
    with _connected(instance) as connection:
        days = rebuild.days_to_count(connection, first, last)
        stopped, whole = False, {"from": days.first.isoformat(), "to": (days.end - timedelta(days=1)).isoformat()}
        try:
            with (
                audited(Environment.of(instance), login() or "unknown", "analytics rebuild", "rollups", None, whole),
                StepPrinter(Console(stderr=True)).step("counting", len(days)) as step,
            ):

                def tell(days_done: int, rows_done: int) -> None:
                    nonlocal done, rows
                    done, rows = days_done, rows_done
                    step.at(done, f"{rows:,} rows")

                rebuild.rebuild(connection, days, tell)
        except KeyboardInterrupt:
            stopped = True
    next_day = days.first + timedelta(days=done)
    if as_json:
        seconds = round(time.monotonic() - began_s, 3)
        print_json({**whole, "days": done, "rows": rows, "finished": not stopped, "seconds": seconds})
    elif stopped:
        console.print(f"stopped; `ebbtide analytics rebuild --from {next_day}` goes on", markup=False)
    else:
        console.print(f"{rows:,} rows of {done} days counted")
    if stopped:
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command("retain")
def retain_rows(
    rows: Annotated[int, typer.Option(min=36, help="Days of decisions, deliveries and engagement to keep.")] = 730,
    hours: Annotated[int, typer.Option(min=1, help="Days of the rollups by hour to keep.")] = 1_095,
    instance: Instance = "main",
    as_json: AsJson = False,
) -> None:
    """Drop rows and rollups by hour that are older; rollups by day stay for ever.

    Run it once a day. Rows go in chunks of a day, and `mails` a year after them.

    Example: `ebbtide analytics retain --rows 730 --hours 1095`
    """
    from senders.recording import retention

    limits = {"rows_days": rows, "hours_days": hours}
    with (
        _connected(instance) as connection,
        audited(Environment.of(instance), login() or "unknown", "analytics retain", "rows and rollups", None, limits),
    ):
        dropped = retention.retain(connection, datetime.now(UTC), timedelta(days=rows), timedelta(days=hours))
    if as_json:
        print_json(asdict(dropped))
        return
    for table, count in dropped.chunks.items():
        console.print(f"{table}: {count} chunks dropped")
    console.print(f"mails: {dropped.mails:,} rows dropped\nrollups by hour: {dropped.hours:,} rows dropped")


@contextmanager
def _connected(instance: str) -> "Iterator[Connection[Any]]":
    import psycopg

    from infra.postgres.migrate import CONNECT_S, require_migrated

    url = Environment.of(instance).database_url
    with (
        require_migrated(),
        closing(psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S, options="-c timezone=UTC")) as made,
    ):
        yield made


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day; write it as 2026-11-01", param_hint=option) from None
