"""`make bench-engine`: the pure core on one core, from the bytes of an event to the bytes of state and of outputs.

No broker. Each event is parsed. If a rule reads it, its user's state is decoded, decided and encoded again, and
decisions and commands are written as JSON. Timers fire in between. Prints tables and the goals, and appends all of it
to perf/results/engine.jsonl. Each set of rules has a process of its own, on the first core.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer
from pydantic import Field
from rich.console import Console
from rich.table import Table

from perf import engine_broadcast, engine_loop, results, tables
from perf.engine_broadcast import BroadcastCost
from perf.engine_loop import Point
from perf.goals import at_least, at_most
from perf.results import PerformanceGoal

P = ParamSpec("P")
T = TypeVar("T")
FILE = results.FILE.with_name("engine.jsonl")
COUNTS = (1, 20, 200, 1_000)
PER_S = {20: 150_000, 1_000: 80_000}
LOAD_S, STATE_BYTES, CONDITIONS_PER_S = 2.0, 300, 1_000_000
BACKTEST_RULES, BACKTEST_OF_THE_ENGINE = 20, 0.6
MET = 10
"""One in so many users who wait is met by a broadcast."""


class EngineRun(results.BenchRun):
    """Everything of one run."""

    points: list[Point] = Field(default_factory=list)
    conditions_per_s: float | None = None
    backtest_per_s: float | None = None
    """Events a second of a backtest with 20 rules, drawn evenly."""
    broadcast: BroadcastCost | None = None
    goals: list[PerformanceGoal] = Field(default_factory=list)


def main(
    events: Annotated[int, typer.Option(min=1, help="The number of events for each set of rules.")] = 500_000,
    users: Annotated[int, typer.Option(min=1, help="The number of users.")] = 100_000,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of both, only to test that it works.")] = False,
    rules: Annotated[list[int] | None, typer.Option("--rules", help="Only sets of this size; may be repeated.")] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time goes, by function; records nothing.")
    ] = False,
    record: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON instead of tables.")] = False,
) -> None:
    """Measure the engine alone, on one core, with sets of 1, 20, 200 and 1,000 rules.

    Example: `python -m perf.bench_engine --rules 20 --profile`
    """
    if quick:
        events, users = events // 10, users // 10
    run = EngineRun(versions=results.versions())
    for count in rules or COUNTS:
        for zipf in (False,) if quick or profile else (False, True):
            point = _alone(engine_loop.measure, count, zipf, events, users, profile)
            sys.stderr.write(f"{count} rules, {point.distribution}: {point.events_per_s:,.0f} events/s\n")
            run.points.append(point)
    if profile:
        return
    run.conditions_per_s = _alone(engine_loop.conditions_per_s)
    if BACKTEST_RULES in (rules or COUNTS):
        run.backtest_per_s = _alone(engine_loop.backtest_per_s, BACKTEST_RULES, events, users)
        sys.stderr.write(f"backtest, {BACKTEST_RULES} rules: {run.backtest_per_s:,.0f} events/s\n")
    run.broadcast = _alone(engine_broadcast.measure, users, max(1, users // MET))
    run.goals = _goals(run)
    results.append(run, record)
    if as_json:
        sys.stdout.write(run.model_dump_json() + "\n")
    else:
        _show(Console(highlight=False, width=None if sys.stdout.isatty() else 120), run)


def _alone(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What `work` gives, in a process of its own on the first core."""
    first = {min(os.sched_getaffinity(0))}
    with ProcessPoolExecutor(1, get_context("spawn"), os.sched_setaffinity, (0, first)) as pool:
        return pool.submit(work, *arguments, **named).result()


def _goals(run: EngineRun) -> list[PerformanceGoal]:
    found = []
    for count, wanted in PER_S.items():
        rates = [point.events_per_s for point in run.points if point.rules == count]
        found.append(at_least(f"{count:,} rules", min(rates, default=None), wanted, "events/s"))
    loads = [point.load_s for point in run.points if point.rules == 1_000]
    found.append(at_most("1,000 rules loaded", max(loads, default=None), LOAD_S, "s"))
    sizes = [point.state_bytes for point in run.points if point.rules == 20]
    found.append(at_most("a user's state with 20 rules", max(sizes, default=None), STATE_BYTES, "bytes"))
    found.append(at_least("a backtest, of the engine", _backtest_share(run), BACKTEST_OF_THE_ENGINE, "times"))
    found.append(at_least("conditions", run.conditions_per_s, CONDITIONS_PER_S, "/s"))
    return found


def _backtest_share(run: EngineRun) -> float | None:
    """The speed of the backtest by that of the engine over the same events."""
    engine = (p.events_per_s for p in run.points if p.rules == BACKTEST_RULES and p.distribution == "uniform")
    if run.backtest_per_s is None or (per_s := next(engine, None)) is None:
        return None
    return run.backtest_per_s / per_s


def _show(console: Console, run: EngineRun) -> None:
    table = Table(title="The engine on one core", title_justify="left", box=None, pad_edge=False)
    for name in (
        "rules",
        "users",
        "events/s",
        "µs/event",
        "changed",
        "decided",
        "sent",
        "load s",
        "state B",
        "peak MiB",
    ):
        table.add_column(name, justify="right")
    for p in run.points:
        shares = (f"{share:.1%}" for share in (p.matched, p.decided, p.sent))
        numbers = (
            f"{p.events_per_s:,.0f}",
            f"{p.us_per_event:.1f}",
            *shares,
            f"{p.load_s:.2f}",
            f"{p.state_bytes:.0f}",
        )
        table.add_row(f"{p.rules:,}", p.distribution, *numbers, f"{p.peak_mib:,.0f}")
    console.print(table)
    if (cost := run.broadcast) is not None:
        console.print(
            f"an event without a user: {cost.met_us:.1f} µs for each of {cost.met:,} users met of {cost.waiting:,} who "
            f"wait; found in {cost.find_us:,.0f} µs by an index, made once with {cost.index_us:.1f} µs a user, or "
            f"with {cost.search_us:.1f} µs a user without it"
        )
    tables.show_goals(console, run.goals)


if __name__ == "__main__":
    typer.run(main)
