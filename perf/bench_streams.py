"""`make bench-streams`: all measurements of the stream layer, in one run on its own broker.

Prints tables and the goals, and appends all of it to perf/results. Exits with 1 if the outputs are wrong. Missed goals
are printed but do not make the run fail, because the machine may be different or busy.
"""

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from infra.local.problems import SetupProblem
from perf import results, tables
from perf.broker import Broker
from perf.cpu_placement import CpuPlacement
from perf.goals import goals
from perf.parts import PARTS, PROFILED, Options, StreamBenchmark
from perf.plot import draw
from perf.results import Run
from perf.watch import MeasurementFailed

QUICK_EVENTS = 100_000


def main(
    events: Annotated[
        int | None,
        typer.Option(min=1, help="How many events each contender gets: 1,000,000, and for every-event 2,000,000."),
    ] = None,
    users: Annotated[int, typer.Option(min=10, help="Of how many users.")] = 100_000,
    quick: Annotated[
        bool, typer.Option("--quick", help="100,000 events of 10,000 users, evenly: does it work? No figures.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help=f"One of {', '.join(PARTS)}; may be repeated.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Only profile a worker: one of {', '.join(PROFILED)}.")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="every-event also by Kafka Streams and Flink; needs Maven and a JDK 17.")
    ] = False,
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
    if profile not in (None, *PROFILED):
        raise typer.BadParameter(f"one of {', '.join(PROFILED)}", param_hint="--profile")
    if quick:
        events, users = min(events or QUICK_EVENTS, QUICK_EVENTS), min(users, 10_000)
    placement = CpuPlacement() if unpinned else CpuPlacement.pinned()
    options = Options(events, users, seed, quick, tuple(only or PARTS), placement, peers)
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        run = _measure(options, profile)
    except (MeasurementFailed, SetupProblem) as problem:
        sys.stderr.write(f"bench-streams: {problem}\n")
        raise SystemExit(2) from None
    if run is not None:
        _finish(run, record, as_json)


def _measure(options: Options, profiled: str | None) -> Run | None:
    began_s = time.monotonic()

    def report(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began_s:7.1f} s  {text}\n")

    report(str(options.placement))
    with Broker(options.placement, report) as broker:
        bench = StreamBenchmark(options, broker, report)
        if profiled is not None:
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
        tables.show(Console(highlight=False, width=None if sys.stdout.isatty() else 150), run)
    if run.problems:
        raise SystemExit(1)


def _interrupted(_: int, __: FrameType | None) -> Any:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(main)
