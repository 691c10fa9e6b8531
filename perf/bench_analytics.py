"""`make bench-analytics`: each question of analysts on 10 million rows of engagement, from rollups and from rows.

The rows are made by the server itself, day by day; the rollups are those that `ebbtide analytics rebuild` counts from
them. Answers from rows are compared with those from rollups; a difference makes the program exit with 1.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from psycopg import Connection
from pydantic import Field

from cli.analytics import histories
from cli.analytics.answers import analyst, ask
from cli.analytics.questions import Question, questions
from perf import results
from perf.analytics_database import own_server
from perf.programme import FIRST_DAY
from perf.raw_views import create_raw_views
from senders.recording import rebuild

FILE = results.FILE.with_name("analytics.jsonl")
DAYS = 90
LIMIT_MS = 50.0
"""What each question may take."""
ROUNDS = 7
SHORTER = {"best-hour": 14}
"""Days of the questions by hour, whose rollup has 24 times as many rows."""
_LOAD = Path(__file__).with_name("analytics_load.sql")


class AnalyticsRun(results.BenchRun):
    """The sizes, and each question's times in milliseconds."""

    settings: dict[str, Any]
    rows: dict[str, int] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    """How long making the rows, counting them and computing the histories took."""
    questions: dict[str, dict[str, float | bool | None]] = Field(default_factory=dict)
    """By name: from rollups the median and the slowest of the clock, and the CPU of server and client, which another
    load of the machine changes less; from rows one by the clock, None if it was given up; and whether both agree."""


def main(
    rows: Annotated[int, typer.Option(min=20_000, help="Rows of engagement.")] = 10_000_000,
    raw_s: Annotated[int, typer.Option(min=0, help="How long to wait for an answer from rows; 0 asks none.")] = 300,
    quick: Annotated[bool, typer.Option("--quick", help="200,000 rows: only tests that it works.")] = False,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure every named question over 90 days. Takes half an hour or more; most of it waits for answers from rows.

    Example: `make bench-analytics ARGS='--rows 1000000'`
    """
    rows = 200_000 if quick else rows
    run = AnalyticsRun(versions=results.versions(("psycopg",)), settings={"rows": rows, "days": DAYS, "raw_s": raw_s})
    with own_server() as url, psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        _prepare(connection, rows, run)
        slow, different = _measure(url, run, raw_s)
    if not quick:
        results.append(run, file)
    for problem in (
        *(f"slower than {LIMIT_MS:.0f} ms: {name}" for name in slow),
        *(f"differs from rows: {n}" for n in different),
    ):
        typer.echo(problem)
    raise typer.Exit(1 if different or (slow and not quick) else 0)


def _prepare(connection: Connection[Any], rows: int, run: AnalyticsRun) -> None:
    until = FIRST_DAY + timedelta(days=DAYS + 1)
    for name, part in (
        ("load", lambda: _load(connection, rows // 2)),
        ("rebuild", lambda: rebuild.rebuild(connection, rebuild.days_to_count(connection, None, None), _quiet)),
        ("vacuum", lambda: connection.execute("VACUUM ANALYZE")),
        ("paths", lambda: histories.compute_paths(connection, FIRST_DAY, until, until)),
        ("subjects", lambda: histories.compute_subjects(connection)),
        ("analyze", lambda: connection.execute("ANALYZE history_paths, history_subjects")),
    ):
        began_s = time.monotonic()
        part()
        run.seconds[name] = round(time.monotonic() - began_s, 1)
        typer.echo(f"{name}: {run.seconds[name]} s")
    create_raw_views(connection, FIRST_DAY, until)
    tables = ("decisions", "deliveries", "engagement", "mails", "rollup_mails_day", "rollup_mails_hour",
              "rollup_engagement_day", "history_paths", "history_subjects")  # fmt: skip
    for table in tables:
        [[count]] = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()  # noqa: S608  # ours
        run.rows[table] = count


def _load(connection: Connection[Any], commands: int) -> None:
    each = commands // DAYS
    cursor = psycopg.ClientCursor(connection)
    for day in range(DAYS):
        values = {
            "first": day * each,
            "last": (day + 1) * each,
            "day": FIRST_DAY + timedelta(days=day),
            "users": max(1_000, commands // 12),
        }
        with connection.transaction():
            cursor.execute(_LOAD.read_bytes(), values)


def _quiet(_days: int, _rows: int) -> None:
    return None


def _measure(url: str, run: AnalyticsRun, raw_s: int) -> tuple[list[str], list[str]]:
    slow, different = [], []
    with (
        analyst(url) as reader,
        psycopg.connect(
            url,
            autocommit=True,
            options=f"-c timezone=UTC -c statement_timeout={raw_s}s",
            cursor_factory=psycopg.ClientCursor,
        ) as owner,
    ):
        for name, question in questions().items():
            values = _values(question)
            figures = _times(reader, question, values)
            if float(figures["median_ms"] or 0) > LIMIT_MS:
                slow.append(name)
            if raw_s:
                figures |= _raw(owner, reader, question, values)
                if figures["same"] is False:
                    different.append(name)
            run.questions[name] = figures
            typer.echo(f"{name:24} {figures}")
    return slow, different


def _values(question: Question) -> dict[str, str]:
    until = FIRST_DAY + timedelta(days=DAYS)
    since = until - timedelta(days=SHORTER.get(question.name, DAYS))
    return {
        "since": since.date().isoformat(),
        "until": until.date().isoformat(),
        "trigger": "%",
        **question.values({}),
    }


def _times(reader: Connection[Any], question: Question, values: Mapping[str, str]) -> dict[str, float | bool | None]:
    ask(reader, question, values)  # the first reads the tables into memory
    server = Path(f"/proc/{reader.info.backend_pid}/schedstat")
    clock, cpu = [], []
    for _ in range(ROUNDS):
        began_s, used_s = time.perf_counter(), time.process_time() + _used_s(server)
        ask(reader, question, values)
        clock.append((time.perf_counter() - began_s) * 1e3)
        cpu.append((time.process_time() + _used_s(server) - used_s) * 1e3)
    medians = {"median_ms": statistics.median(clock), "slowest_ms": max(clock), "cpu_ms": statistics.median(cpu)}
    return {name: round(value, 1) for name, value in medians.items()}


def _used_s(schedstat: Path) -> float:
    """The CPU that a process has used, in its own first figure: nanoseconds."""
    return int(schedstat.read_text().split()[0]) / 1e9


def _raw(
    owner: Connection[Any], reader: Connection[Any], question: Question, values: Mapping[str, str]
) -> dict[str, float | bool | None]:
    raw = replace(question, sql=question.sql.replace("analytics.", "raw_analytics."))
    began_s = time.perf_counter()
    try:
        found = ask(owner, raw, values)
    except psycopg.errors.QueryCanceled:
        return {"raw_ms": None, "same": None}  # longer than it may take
    took_ms = round((time.perf_counter() - began_s) * 1e3, 1)
    return {"raw_ms": took_ms, "same": found == ask(reader, question, values)}


if __name__ == "__main__":
    typer.run(main)
