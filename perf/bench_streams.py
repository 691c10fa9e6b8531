"""`make bench-streams`: everything that is measured of the stream layer, in one run on one broker of its own.

Prints tables and the goals, and appends all of it to perf/results. Ends with 1 where what was written is wrong; goals
that are not met are told and fail nothing, for the machine may be another one, or busy.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from infra.local.problems import SetupProblem
from perf import ebbtide, latency, results, scale, sweeps, tables, throughput
from perf.broker import Broker
from perf.goals import ONE_PER_S, goals
from perf.placing import Placing
from perf.plot import draw
from perf.results import Run
from perf.watching import MeasurementFailed
from perf.workloads import DISTRIBUTIONS, Distribution, Workload

PARTITIONS = 16
SWEEP_SHARE = 0.3
"""A point of a sweep has this share of the events."""
LATENCY_S, QUICK_LATENCY_S = 40, 15
CONTENDERS = {
    "consume": throughput.CONSUME,
    "bare-spike": throughput.BARE_SPIKE,
    "bare-rule": throughput.BARE_RULE,
    "runtime": throughput.RUNTIME,
    "one-rule": throughput.ONE,
    "twenty-rules": throughput.TWENTY,
    "faust": throughput.FAUST,
}
PARTS = (*CONTENDERS, "latency", "scale", "sweeps", "recovery")


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, and how much of it."""

    events: int
    users: int
    seed: int
    quick: bool
    parts: tuple[str, ...]
    placing: Placing

    @property
    def distributions(self) -> tuple[Distribution, ...]:
        """Both, or the even one where it must be quick."""
        return DISTRIBUTIONS[:1] if self.quick else DISTRIBUTIONS

    def workload(self, events: int, distribution: Distribution = "uniform", span_s: int = 10) -> Workload:
        """Events to feed, with profiles from before now."""
        return Workload(events, self.users, distribution, self.seed, span_ms=span_s * 1000).from_now()


class StreamBenchmark:
    """One run: its parts, in order, each noted in `run` when it is done."""

    def __init__(self, options: Options, broker: Broker, report: Callable[[str], None]) -> None:
        self._options = options
        self._broker = broker
        self._report = report
        settings = {
            "events": options.events,
            "users": options.users,
            "seed": options.seed,
            "partitions": PARTITIONS,
            "placing": str(options.placing),
            "quick": options.quick,
            "parts": list(options.parts),
        }
        self.run = results.new_run(settings)

    def measure(self) -> None:
        """All parts that were asked for."""
        if any(part in CONTENDERS for part in self._options.parts):
            self._or_note("throughput", self._throughput)
        for part, measure in (("latency", self._latency), ("scale", self._scale), ("sweeps", self._sweeps)):
            if part in self._options.parts:
                self._or_note(part, measure)

    def profile(self, rules: int) -> None:
        """One worker under the profiler; notes nothing."""
        workload = self._options.workload(self._options.events)
        ebbtide.measure_alone(self._broker, workload, PARTITIONS, rules, self._report, profiled=True)

    def _or_note(self, part: str, measure: Callable[[], None]) -> None:
        """What fails costs itself, and not what was measured before it."""
        try:
            measure()
        except MeasurementFailed as failure:
            self._report(f"{part} failed: {failure}")
            self.run.failures.append(f"{part}: {failure}")

    def _throughput(self) -> None:
        names = [CONTENDERS[part] for part in self._options.parts if part in CONTENDERS]
        for distribution in self._options.distributions:
            workload = self._options.workload(self._options.events, distribution)
            for each in throughput.measure(self._broker, workload, PARTITIONS, names, self._report):
                self.run.throughput.append(each)

    def _latency(self) -> None:
        seconds = QUICK_LATENCY_S if self._options.quick else LATENCY_S
        for rate in (ONE_PER_S / 2, self._half_load()):
            workload = self._options.workload(round(rate * seconds), span_s=seconds)
            self.run.latency.append(latency.measure(self._broker, workload, PARTITIONS, self._report))

    def _half_load(self) -> float:
        """Half of what one rule does; measured for it where it was not."""
        rates = [each.events_per_s for each in self.run.throughput if each.name == throughput.ONE]
        if not rates:
            self._report("the load first: one rule")
            workload = self._options.workload(self._options.events)
            rates = [ebbtide.measure_alone(self._broker, workload, PARTITIONS, 1, self._report).events_per_s]
        if rates[0] is None:
            raise MeasurementFailed("half of an unknown load: too few events to measure the throughput; use more")
        return rates[0] / 2

    def _scale(self) -> None:
        for workers in scale.WORKERS:
            self._report(scale.NAMES[workers])
            workload = self._options.workload(self._options.events)
            point = scale.measure(self._broker, workload, PARTITIONS, workers, self._report)
            self._report(throughput.in_words(point))
            self.run.scale.append(point)

    def _sweeps(self) -> None:
        events = round(self._options.events * SWEEP_SHARE)
        smaller = self._options.users / sweeps.BASE_USERS
        base = self._options.workload(events)
        for name, point in sweeps.measure(self._broker, base, smaller, self._report):
            self._report(throughput.in_words(point))
            self.run.sweeps.setdefault(name, []).append(point)

    def recover(self) -> None:
        """The recovery, by its own program, which has a broker of its own."""
        self._or_note("recovery", self._recover)

    def _recover(self) -> None:
        users = self._options.users * 10
        self._report(f"recovery of {users:,} users")
        command = [sys.executable, "-m", "perf.bench_recovery", "--json", "--users", str(users)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise MeasurementFailed(f"its program ended with {done.returncode}")
        self.run.recovery = orjson.loads(done.stdout.splitlines()[-1])


def main(
    events: Annotated[int, typer.Option(min=1, help="How many events each contender gets.")] = 1_000_000,
    users: Annotated[int, typer.Option(min=10, help="Of how many users.")] = 100_000,
    quick: Annotated[
        bool, typer.Option("--quick", help="100,000 events of 10,000 users, evenly: does it work? No figures.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help=f"One of {', '.join(PARTS)}; may be repeated.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only profile a worker: one-rule or twenty-rules.")
    ] = None,
    unpinned: Annotated[bool, typer.Option("--unpinned", help="Let the scheduler place broker and workers.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed is another crowd.")] = 1,
    record: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = results.FILE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON instead of tables.")] = False,
) -> None:
    """Measure the stream layer on a broker of its own, and append what was found to perf/results.

    Example: `python -m perf.bench_streams --only one-rule --only bare-rule`
    """
    for name in only or []:
        if name not in PARTS:
            raise typer.BadParameter(f"no part {name!r}; there are: {', '.join(PARTS)}", param_hint="--only")
    profiled = {None: 0, "one-rule": 1, "twenty-rules": 20}.get(profile)
    if profiled is None:
        raise typer.BadParameter("one-rule or twenty-rules", param_hint="--profile")
    if quick:
        events, users = min(events, 100_000), min(users, 10_000)
    placing = Placing() if unpinned else Placing.pinned()
    options = Options(events, users, seed, quick, tuple(only or PARTS), placing)
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        run = _measure(options, profiled)
    except (MeasurementFailed, SetupProblem) as problem:
        sys.stderr.write(f"bench-streams: {problem}\n")
        raise SystemExit(2) from None
    if run is not None:
        _finish(run, record, as_json)


def _measure(options: Options, profiled: int) -> Run | None:
    began_s = time.monotonic()

    def report(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began_s:7.1f} s  {text}\n")

    report(str(options.placing))
    with Broker(options.placing, report) as broker:
        bench = StreamBenchmark(options, broker, report)
        if profiled:
            bench.profile(profiled)
            return None
        bench.measure()
    if "recovery" in options.parts:
        bench.recover()
    return bench.run


def _finish(run: Run, record: Path, as_json: bool) -> None:
    run.goals = goals(run)
    if run.sweeps:
        file = record.with_name(f"streams-{run.at:%Y-%m-%d-%H%M}.png")
        machine = f"{run.machine['cores']} cores {run.machine['cpu']}, {run.settings['placing']}"
        draw(run.sweeps, f"One worker, one changed at a time. {run.at:%Y-%m-%d}, {run.revision}, {machine}", file)
        sys.stderr.write(f"plot: {file}\n")
    results.append(run, record)
    if as_json:
        sys.stdout.write(run.model_dump_json() + "\n")
    else:
        tables.show(Console(highlight=False, width=None if sys.stdout.isatty() else 130), run)
    if run.problems:
        raise SystemExit(1)


def _interrupted(_: int, __: FrameType | None) -> Any:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(main)
