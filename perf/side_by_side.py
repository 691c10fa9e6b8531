"""Two or more implementations of the same work, timed in alternating rounds on the first core."""

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from perf import results


class Rate(BaseModel):
    """How often an implementation does the work in a second: the median of the rounds."""

    work: str
    implementation: str
    per_s: float


class SideBySideRun(results.BenchRun):
    """Everything of one run."""

    settings: dict[str, int]
    rates: list[Rate] = Field(default_factory=list)


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
    run = SideBySideRun(versions=results.versions(packages), settings=dict(settings))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    run.rates = measure()
    results.append(run, file)
    for rate in run.rates:
        sys.stdout.write(f"{rate.per_s:>12,.0f}/s  {rate.implementation:<34}{rate.work}\n")
    return run.rates
