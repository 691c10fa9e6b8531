"""`python -m perf.bench_backtest`: the command's backtest of a long log, beside the engine alone on one core.

Two workloads, each with 20 rules: in one an event in twenty changes a state, in the other every event does. The log is
a file. Memory is that of all processes together, looked at ten times a second. Appends to perf/results/backtest.jsonl.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from threading import Event, Thread
from typing import Annotated

import typer
from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table

from cli.backtest.job import BacktestJob, RuleTexts
from cli.backtest.run import cores, run_backtest
from cli.step_printer import StepPrinter
from perf import results, tables
from perf.dense_workloads import AllCountWorkload
from perf.engine_loop import START_MS, EnginePartition
from perf.engine_rules import EngineWorkload, rule_texts
from perf.goals import at_least, at_most
from perf.results import PerformanceGoal
from perf.rulesets import TWENTY_ALL_COUNT

FILE = results.FILE.with_name("backtest.jsonl")
RULES = 20
OF_THE_ENGINE, RESIDENT_MIB = 0.6, 1024
LOOK_S = 0.1
ENGINE_EVENTS = 300_000
"""The engine alone keeps its events in memory, so it gets no more."""
SPAN_MS = 90 * 86_400_000
"""The log of dense events is 90 days long, as a log for a backtest is."""
WORKLOADS = ("one in twenty", "every event")


class BacktestPoint(BaseModel):
    """One workload."""

    workload: str
    events: int
    users: int
    log_mib: float
    processes: int
    seconds: float
    cpu_s: float
    """CPU time of all processes, without that of looking at their memory."""
    events_per_s: float
    events_per_cpu_s: float
    """By the CPU time of all processes, which other programs on the machine change less."""
    engine_per_cpu_s: float
    """The engine alone, in one process, over the first events of the log."""
    decisions: int
    peak_mib: float
    """The most that all processes had in memory together (their RSS, pages they share counted for each)."""
    disk_mib: float
    """The most that temporary files took."""


class BacktestBenchRun(results.BenchRun):
    """Everything of one run."""

    points: list[BacktestPoint] = Field(default_factory=list)
    goals: list[PerformanceGoal] = Field(default_factory=list)


def main(
    events: Annotated[int, typer.Option(min=1, help="The number of events of each log.")] = 1_000_000,
    users: Annotated[int, typer.Option(min=1, help="The number of users.")] = 100_000,
    workload: Annotated[list[str] | None, typer.Option(help=f"Only: {', '.join(WORKLOADS)}.")] = None,
    record: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure a backtest of a long log.

    Example: `python -m perf.bench_backtest --events 10000000`
    """
    run = BacktestBenchRun(versions=results.versions())
    for name in workload or WORKLOADS:
        run.points.append(_measure(name, events, users))
        sys.stderr.write(f"{run.points[-1].model_dump_json()}\n")
    run.goals = [goal for point in run.points for goal in _goals(point)]
    results.append(run, record)
    _show(Console(highlight=False, width=None if sys.stdout.isatty() else 120), run)


def _goals(point: BacktestPoint) -> list[PerformanceGoal]:
    share = point.events_per_cpu_s / point.engine_per_cpu_s
    return [
        at_least(f"{point.workload}, a core, of the engine", share, OF_THE_ENGINE, "times"),
        at_most(f"{point.workload}, all processes", point.peak_mib, RESIDENT_MIB, "MiB"),
    ]


def _records(name: str, events: int, users: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Instant, key and value of each event."""
    if name == WORKLOADS[0]:
        yield from EngineWorkload(events, users, False, RULES, START_MS).records()
        return
    span_ms = SPAN_MS
    workload = AllCountWorkload(events, users, "uniform", 1, START_MS, span_ms)
    for number, (key, value) in enumerate(workload.records()):
        yield START_MS + round(number * span_ms / events), key, value


def _texts(name: str) -> RuleTexts:
    if name == WORKLOADS[0]:
        return RuleTexts(list(rule_texts(RULES)), {"plain": "0" * 64})
    folder = TWENTY_ALL_COUNT.read()
    return RuleTexts(folder.rules, folder.template_hashes())


def _measure(name: str, events: int, users: int) -> BacktestPoint:
    with _own_temporary_files() as folder, NamedTemporaryFile(suffix=".jsonl") as log:
        for _, _, value in _records(name, events, users):
            log.write(value + b"\n")
        log.flush()
        size_mib = Path(log.name).stat().st_size / 2**20
        first = {min(os.sched_getaffinity(0))}
        with ProcessPoolExecutor(1, get_context("spawn"), os.sched_setaffinity, (0, first)) as pool:
            engine = pool.submit(_engine_per_cpu_s, name, min(events, ENGINE_EVENTS), users).result()
        job = BacktestJob((_texts(name),), Path(log.name))
        with _watched(folder) as peaks:
            began, cpu_began = time.perf_counter(), _cpu_s()
            run = run_backtest(job, StepPrinter(Console(stderr=True)))
            seconds = time.perf_counter() - began
        cpu_s = _cpu_s() - cpu_began - peaks["cpu"]
    return BacktestPoint(
        workload=name,
        events=events,
        users=users,
        log_mib=round(size_mib, 1),
        processes=cores(),
        seconds=round(seconds, 2),
        cpu_s=round(cpu_s, 2),
        events_per_s=round(events / seconds),
        events_per_cpu_s=round(events / cpu_s),
        engine_per_cpu_s=round(engine),
        decisions=sum(run.result.decisions.values()),
        peak_mib=round(peaks["rss"], 1),
        disk_mib=round(peaks["disk"], 1),
    )


def _cpu_s() -> float:
    """CPU time of this process and of its children that have ended."""
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def _engine_per_cpu_s(name: str, events: int, users: int) -> float:
    """Events in a second of CPU time of the engine alone."""
    texts = _texts(name)
    partition = EnginePartition(texts.evaluator("UTC").rules)
    partition.profiles(users)
    records = list(_records(name, events, users))
    began = time.process_time()
    partition.read(records)
    return events / (time.process_time() - began)


@contextmanager
def _own_temporary_files() -> Iterator[Path]:
    """A folder for all temporary files of the block: other programs on the machine may run backtests too."""
    with TemporaryDirectory(prefix="ebbtide-bench-") as name:
        before, tempfile.tempdir = tempfile.tempdir, name
        try:
            yield Path(name)
        finally:
            tempfile.tempdir = before


@contextmanager
def _watched(folder: Path) -> Iterator[dict[str, float]]:
    """The most memory of this process and its children, and the most of temporary files, in MiB; at the end the CPU
    seconds of looking."""
    peaks, done = {"rss": 0.0, "disk": 0.0, "cpu": 0.0}, Event()

    def look() -> None:
        while not done.wait(LOOK_S):
            peaks["rss"] = max(peaks["rss"], tree_rss_mib(os.getpid()))
            peaks["disk"] = max(peaks["disk"], _temporary_mib(folder))
        peaks["cpu"] = time.thread_time()

    looking = Thread(target=look, daemon=True)
    looking.start()
    try:
        yield peaks
    finally:
        done.set()
        looking.join()


def tree_rss_mib(pid: int) -> float:
    """What a process and its children have in memory, in MiB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = [each.name for each in Path(f"/proc/{pid}/task").iterdir() if each.name != str(pid)]
        for thread in threads:
            children += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    return own / 1024 + sum(tree_rss_mib(int(child)) for child in children)


def _temporary_mib(folder: Path) -> float:
    try:
        files = list(folder.glob("ebbtide-backtest-*/*"))
    except FileNotFoundError:  # the end has removed a folder
        return 0.0
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total / 2**20


def _show(console: Console, run: BacktestBenchRun) -> None:
    table = Table(title="Backtests of 20 rules", title_justify="left", box=None, pad_edge=False)
    for name in ("workload", "events", "log MiB", "s", "events/s", "a CPU s", "engine", "peak MiB", "disk MiB"):
        table.add_column(name, justify="right")
    for p in run.points:
        rates = (f"{rate:,.0f}" for rate in (p.events_per_s, p.events_per_cpu_s, p.engine_per_cpu_s))
        sizes = (f"{p.peak_mib:,.0f}", f"{p.disk_mib:,.0f}")
        table.add_row(p.workload, f"{p.events:,}", f"{p.log_mib:,.0f}", f"{p.seconds:.1f}", *rates, *sizes)
    console.print(table)
    tables.show_goals(console, run.goals)


if __name__ == "__main__":
    typer.run(main)
