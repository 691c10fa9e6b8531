"""Two or more implementations of the same work, timed in alternating rounds on the first core."""

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from perf import results


class Rate(BaseModel):
    """How often an implementation does the work in a second: the median of the rounds."""

    work: str
    implementation: str
    per_s: float


class SideBySideRun(BaseModel):
    """Everything of one run."""

    at: datetime
    revision: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    load: float
    """The load average of the machine at the start. On a busy machine all rates are too low; their ratios hold."""
    settings: dict[str, int]
    rates: list[Rate]


def rates(work: str, count: int, rounds: int, implementations: Mapping[str, Callable[[], object]]) -> list[Rate]:
    """The rate of each implementation; one call does the work `count` times."""
    gc.collect()
    seconds: dict[str, list[float]] = {name: [] for name in implementations}
    for _ in range(rounds):
        for name, run in implementations.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return [
        Rate(work=work, implementation=name, per_s=count / statistics.median(took)) for name, took in seconds.items()
    ]


def record(
    measure: Callable[[], list[Rate]], packages: Sequence[str], file: Path, settings: Mapping[str, int]
) -> list[Rate]:
    """Measures on the first core, appends the run to the file, and prints the rates."""
    machine, load = results.machine(), round(os.getloadavg()[0], 2)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    run = SideBySideRun(
        at=datetime.now(UTC),
        revision=results.revision(),
        machine=machine,
        versions=results.versions(packages),
        load=load,
        settings=dict(settings),
        rates=measure(),
    )
    results.append(run, file)
    for rate in run.rates:
        sys.stdout.write(f"{rate.per_s:>12,.0f}/s  {rate.implementation:<34}{rate.work}\n")
    return run.rates
