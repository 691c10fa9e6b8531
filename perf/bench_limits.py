"""`python -m perf.bench_limits`: limits shared by several processes, while one is killed and another joins.

Each process begins a mail at every permit that it gets, and nothing else: so the limit is what binds. The clock that
counts is that of the machine, read when a mail is begun.
"""

import os
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, Field

from perf import results
from perf.own_database import DatabaseServer, own_database
from senders.shaping.quantities import SendRate

FILE = results.FILE.with_name("limits.jsonl")
SECOND_US = 1_000_000
WARM_UP_US = SECOND_US
"""Processes that start do not use the limit yet."""


class LimitUse(BaseModel):
    """How one limit was used."""

    rate: str
    workers: int
    seconds: float
    killed: bool
    begun: int
    most_in_a_second: int
    most_in_a_minute: int
    used_share: float
    """Of what the limit allows, over the whole time after the warm-up."""

    @property
    def met(self) -> bool:
        """Whether no second and no minute saw more than they may, and 98 % was used."""
        rate = SendRate.parse(self.rate)
        per_second = rate.count / rate.period_s
        in_a_second = self.most_in_a_second <= per_second + max(1.0, 0.02 * per_second)
        return in_a_second and self.most_in_a_minute <= per_second * 60 and self.used_share >= 0.98


class LimitRun(results.BenchRun):
    """Everything of one run."""

    limits: list[LimitUse] = Field(default_factory=list)


def measure(database_url: str, rate: str, seconds: float, workers: int, *, kill: bool) -> LimitUse:
    """Lets processes use a limit of a name of its own. With `kill`, one is killed at a third, and one joins at half."""
    name = f"bench-{os.getpid()}-{time.monotonic_ns()}"
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}" for number in range(workers + kill)]
        begun_s = time.monotonic()
        running = [_start(database_url, name, rate, seconds, file) for file in files[:workers]]
        try:
            if kill:
                _wait_until(begun_s + seconds / 3)
                running[0].kill()
                _wait_until(begun_s + seconds / 2)
                running.append(_start(database_url, name, rate, seconds / 2, files[-1]))
            for process in running:
                process.wait()
        finally:
            for process in running:
                process.kill()
        times_us = sorted(at for file in files for at in _times(file))
    return _use(times_us, rate, seconds, workers, kill)


def _start(database_url: str, name: str, rate: str, seconds: float, file: Path) -> "subprocess.Popen[bytes]":
    worker = [sys.executable, "-m", "perf.limit_worker", database_url, name, rate, str(seconds), str(file)]
    return subprocess.Popen(worker)


def _wait_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))


def _times(file: Path) -> "array[int]":
    times = array("q")
    if file.exists():
        raw = file.read_bytes()
        times.frombytes(raw[: len(raw) // times.itemsize * times.itemsize])
    return times


def _use(times_us: Sequence[int], rate: str, seconds: float, workers: int, kill: bool) -> LimitUse:
    first_us = times_us[0] + WARM_UP_US
    counted = [at for at in times_us if at >= first_us]
    counted_s = seconds - WARM_UP_US / SECOND_US
    last_us = first_us + counted_s * SECOND_US
    limit = SendRate.parse(rate)
    allowed = limit.count / limit.period_s * counted_s
    return LimitUse(
        rate=rate,
        workers=workers,
        seconds=seconds,
        killed=kill,
        begun=len(times_us),
        most_in_a_second=most_within(times_us, SECOND_US),
        most_in_a_minute=most_within(times_us, 60 * SECOND_US),
        used_share=round(sum(at < last_us for at in counted) / allowed, 4),
    )


def most_within(times_us: Sequence[int], window_us: int) -> int:
    """The most of these sorted times in any window, which has its beginning and not its end."""
    most, first = 0, 0
    for number, at in enumerate(times_us):
        while times_us[first] <= at - window_us:
            first += 1
        most = max(most, number - first + 1)
    return most


def main(
    server: DatabaseServer,
    rates: Annotated[list[str] | None, typer.Option("--rate", help="A limit; default: 10, 100 and 1,000/s.")] = None,
    seconds: Annotated[float, typer.Option(min=5, help="How long each limit is used.")] = 300,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the limit.")] = 3,
    kill: Annotated[bool, typer.Option(help="Kill one process on the way, and let another join.")] = True,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure how exactly processes keep to a limit that they share, and how much of it they use.

    It makes a database of its own, and drops it at the end. Exits with 1 if a limit was exceeded, or used to less than
    98 %.

    Example: `python -m perf.bench_limits --seconds 30 --rate 100/s`
    """
    run = LimitRun(versions=results.versions(("psycopg",)))
    with own_database(server, "limits") as url:
        for rate in rates or ["10/s", "100/s", "1000/s"]:
            run.limits.append(use := measure(url, rate, seconds, workers, kill=kill))
            verdict = "kept" if use.met else "NOT KEPT"
            sys.stdout.write(
                f"{rate:>8}  {workers} workers{', one killed, one joins' if kill else ''}, {seconds:.0f} s: "
                f"at most {use.most_in_a_second:,} in a second, {use.most_in_a_minute:,} in a minute, "
                f"{use.used_share:.1%} used  {verdict}\n"
            )
    results.append(run, file)
    raise typer.Exit(0 if all(use.met for use in run.limits) else 1)


if __name__ == "__main__":
    typer.run(main)
