"""`make bench-ingest`: HTTP ingest on real servers, beside the plain handler and the ceiling, in one run.

It starts its own Kafka and PostgreSQL (ports 330 above EBBTIDE_PORT_BASE), and removes their data at the end.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, Field

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.holders import answers
from infra.local.layout import PROJECT_ROOT
from perf import results
from perf.goals import at_least, at_most
from perf.http_load import FastLoad, HttpLoad, SteadyLoad, as_fast_as_answered, at_a_steady_rate
from perf.ingest_loads import LINK_KEY, loads, targets
from perf.inside import peak_mib
from perf.results import PerformanceGoal
from perf.sender_servers import SenderServers, cpu_of
from perf.watch import MeasuredProcess, MeasurementFailed
from web.keys import key_table
from web.keys.key_table import KeyRow
from web.keys.secret import hash_of, secret_of
from web.keys.write_key import KeyClass

FILE = results.FILE.with_name("ingest.jsonl")
PACKAGES = ("granian", "uvloop", "msgspec", "confluent-kafka", "fastapi", "uvicorn")
HTTPTOOLS = "httptools==0.7.1"
"""The parser of the ceiling, and of uvicorn at its fastest. The product does not need it."""
OURS, PLAIN, CEILING = "ebbtide", "plain FastAPI", "own protocol"
CONNECTIONS = {"single": 400, "batch": 32, "identify": 128, "click": 128}
STEADY = {"single": 5_000.0, "batch": 500.0}
STEADY_CONNECTIONS = 64
EVENTS_PER_S, SINGLE_PER_S, IDENTIFY_PER_S, CLICKS_PER_S = 100_000, 12_000, 2_000, 5_000
BATCH_US, SINGLE_US = 8, 60
SINGLE_P99_MS, BATCH_P99_MS = 25, 50
TIMES_PLAIN = 5
START_S = 60.0


class IngestRate(BaseModel):
    """What a server took as fast as it answered: the best of the rounds by rate, and by CPU."""

    contender: str
    load: str
    connections: int
    items_per_s: float
    cpu_us_per_item: float
    failed: int
    peak_mib: float


class IngestLatency(BaseModel):
    """What a server took at a steady rate: the round with the best p99."""

    contender: str
    load: str
    items_per_s: float
    found: SteadyLoad


class IngestRun(results.BenchRun):
    """Everything of one run."""

    settings: dict[str, float | int | str]
    rates: list[IngestRate] = Field(default_factory=list)
    latency: list[IngestLatency] = Field(default_factory=list)
    goals: list[PerformanceGoal] = Field(default_factory=list)
    failures: list[str] = Field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Calls that were not taken, and parts that could not be measured."""
        return [
            f"{each.contender}, {each.load}: {each.failed} failed" for each in self.rates if each.failed
        ] + self.failures


@dataclass(frozen=True, slots=True)
class HttpContender:
    """A server to measure: how it starts, and where it listens."""

    name: str
    port: int
    arguments: Sequence[str]
    variables: Mapping[str, str]
    loads: Sequence[str] = ("batch", "single")


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long each measurement takes.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is taken; the best counts.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Only test that it works.")] = False,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure ingest. Exits with 1 if a call was not taken, or if a part cannot be measured."""
    seconds, rounds = (1, 1) if quick else (seconds, rounds)
    found = IngestRun(versions=results.versions(PACKAGES), settings={"seconds": seconds, "rounds": rounds})
    try:
        with SenderServers() as servers, ExitStack() as running:
            servers.fresh(PROJECT_ROOT)
            secret = _new_key(servers)
            contenders = _contenders(servers, secret)
            started = [(each, running.enter_context(_started(each, servers.home))) for each in contenders]
            for number in range(rounds):
                _report(f"round {number + 1} of {rounds}")
                _measure_round(found, started, secret, seconds, servers.home)
    finally:
        found.goals = goals(found)
        results.append(found, file)
        _say(found)
    if found.problems:
        raise typer.Exit(1)


def _new_key(servers: SenderServers) -> str:
    secret = secret_of(KeyClass.SERVER, os.urandom(20))
    row = KeyRow("perf", KeyClass.SERVER, "perf", (), None, datetime.now(UTC))
    with servers.connection() as connection:
        key_table.add(connection, row, hash_of(secret), "perf")
        connection.cursor().executemany("INSERT INTO links (id, url) VALUES (%s, %s)", targets().items())
    return secret


def _contenders(servers: SenderServers, secret: str) -> list[HttpContender]:
    port = servers.web_port
    variables = {
        "EBBTIDE_KAFKA": servers.kafka,
        "EBBTIDE_DATABASE_URL": servers.database_url,
        "EBBTIDE_HTTP_PORT": str(port),
        "EBBTIDE_HTTP_WEB_PORT": str(port + 10),
        "EBBTIDE_WEB_DIR": str(servers.home / "web"),
        "EBBTIDE_PUBLIC_URL": "http://mail.shop.example",
        "EBBTIDE_LINK_KEYS": f'["{LINK_KEY}"]',
    }
    tools = {"PYTHONPATH": f"{_httptools()}:{PROJECT_ROOT}"}
    return [
        HttpContender(
            OURS, port, ("cli.main", "run", "web", "--slot", "0"), variables, ("batch", "single", "identify", "click")
        ),
        HttpContender(CEILING, port + 1, ("perf.bare_ingest", servers.kafka, str(port + 1), secret), tools),
        HttpContender(PLAIN, port + 2, ("perf.plain_ingest", servers.kafka, str(port + 2), secret), tools),
    ]


def _httptools() -> Path:
    """The folder that has httptools."""
    place, log = PROJECT_ROOT / ".local" / "httptools", PROJECT_ROOT / ".local" / "logs" / "httptools.log"
    with locked(place.with_suffix(".lock")):
        if not is_installed(place, HTTPTOOLS):
            with installing(place, HTTPTOOLS) as new:
                command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(new), HTTPTOOLS]
                run(command, log=log, failure=f"{HTTPTOOLS} could not be installed", marks=("ERROR:",))
    return place


@contextmanager
def _started(contender: HttpContender, home: Path) -> Iterator[MeasuredProcess]:
    name = contender.name.replace(" ", "-")
    with MeasuredProcess(name, contender.arguments, None, home / "logs", contender.variables) as process:
        end_s = time.monotonic() + START_S
        while not answers(contender.port):
            process.check()
            if time.monotonic() > end_s:
                raise MeasurementFailed(f"{contender.name} does not listen")
            time.sleep(0.1)
        yield process


def _measure_round(
    found: IngestRun,
    started: Sequence[tuple[HttpContender, MeasuredProcess]],
    secret: str,
    seconds: float,
    home: Path,
) -> None:
    for contender, process in started:
        for name in contender.loads:
            _report(f"{contender.name}, {name}")
            load = loads(secret, datetime.now(UTC))[name]
            cpu_s = _cpu_s(process)
            fast = as_fast_as_answered(contender.port, load, CONNECTIONS[name], seconds, home)
            _keep_rate(found, contender, load, fast, _cpu_s(process) - cpu_s, process)
    for contender, _ in started:
        for name, rate in STEADY.items():
            if contender.name == OURS:
                _report(f"{contender.name}, {name}, {rate:g} requests/s")
                load = loads(secret, datetime.now(UTC))[name]
                steady = at_a_steady_rate(contender.port, load, STEADY_CONNECTIONS, rate, seconds, home)
                _keep_latency(found, IngestLatency(contender=OURS, load=name, items_per_s=rate, found=steady))


def _cpu_s(process: MeasuredProcess) -> float:
    return sum(cpu_of(pid, with_children=False) for pid in process.pids())


def _keep_rate(
    found: IngestRun, contender: HttpContender, load: HttpLoad, fast: FastLoad, cpu_s: float, process: MeasuredProcess
) -> None:
    """Keeps the better rate and the better cost of this round and those before it."""
    rate = IngestRate(
        contender=contender.name,
        load=load.name,
        connections=CONNECTIONS[load.name],
        items_per_s=fast.requests_per_s * load.items,
        cpu_us_per_item=1e6 * cpu_s / max(1, fast.requests * load.items),
        failed=fast.failed,
        peak_mib=max(peak_mib(pid) for pid in process.pids()),
    )
    before = next((each for each in found.rates if (each.contender, each.load) == (rate.contender, rate.load)), None)
    if before is None:
        found.rates.append(rate)
        return
    before.items_per_s = max(before.items_per_s, rate.items_per_s)
    before.cpu_us_per_item = min(before.cpu_us_per_item, rate.cpu_us_per_item)
    before.failed += rate.failed
    before.peak_mib = rate.peak_mib


def _keep_latency(found: IngestRun, latency: IngestLatency) -> None:
    before = next((each for each in found.latency if each.load == latency.load), None)
    if before is None:
        found.latency.append(latency)
    elif latency.found.p99_ms < before.found.p99_ms:
        before.found = latency.found


def goals(found: IngestRun) -> list[PerformanceGoal]:
    """Each goal with what was measured."""

    def rate(contender: str, load: str) -> IngestRate | None:
        return next((each for each in found.rates if (each.contender, each.load) == (contender, load)), None)

    def p99_ms(load: str) -> float | None:
        return next((each.found.p99_ms for each in found.latency if each.load == load), None)

    def times(load: str) -> float | None:
        ours, plain = rate(OURS, load), rate(PLAIN, load)
        return round(ours.items_per_s / plain.items_per_s, 2) if ours and plain else None

    def cost(load: str) -> float | None:
        ours = rate(OURS, load)
        return ours.cpu_us_per_item if ours else None

    def speed(load: str) -> float | None:
        ours = rate(OURS, load)
        return ours.items_per_s if ours else None

    return [
        at_least("batches of 100", speed("batch"), EVENTS_PER_S, "events/s"),
        at_least("single calls", speed("single"), SINGLE_PER_S, "requests/s"),
        at_most("CPU in batches", cost("batch"), BATCH_US, "µs/event"),
        at_most("CPU of a single call", cost("single"), SINGLE_US, "µs"),
        at_most(f"p99 at {STEADY['single']:,g} single calls/s", p99_ms("single"), SINGLE_P99_MS, "ms"),
        at_most(f"p99 at {STEADY['batch'] * 100:,g} events/s in batches", p99_ms("batch"), BATCH_P99_MS, "ms"),
        at_least("batches, of plain FastAPI", times("batch"), TIMES_PLAIN, "times"),
        at_least("single calls, of plain FastAPI", times("single"), TIMES_PLAIN, "times"),
        at_least("identify", speed("identify"), IDENTIFY_PER_S, "calls/s"),
        at_least("click redirects", speed("click"), CLICKS_PER_S, "redirects/s"),
    ]


def _report(text: str) -> None:
    sys.stderr.write(f"  {text}\n")


def _say(found: IngestRun) -> None:
    write = sys.stdout.write
    for each in found.rates:
        write(
            f"{each.contender:<16}{each.load:<10}{each.items_per_s:>10,.0f}/s {each.cpu_us_per_item:>7.1f} µs CPU "
            f"{each.peak_mib:>5.0f} MiB  {each.failed} failed\n"
        )
    for latency in found.latency:
        steady = latency.found
        write(
            f"{latency.load:<10}{steady.requests_per_s:>8,.0f} requests/s  p50 {steady.p50_ms:.1f}  "
            f"p99 {steady.p99_ms:.1f}  max {steady.max_ms:.1f} ms  {steady.failed} failed\n"
        )
    for goal in found.goals:
        mark = {True: "met", False: "MISSED", None: "not measured"}[goal.met]
        write(f"{mark:<13}{goal.what}: {goal.measured} (goal {goal.wanted})\n")
    for problem in found.problems:
        write(f"PROBLEM      {problem}\n")


if __name__ == "__main__":
    typer.run(main)
