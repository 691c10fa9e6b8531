"""`make bench-senders`: delivery from end to end on real servers, beside an old revision and others, in one sitting.

It starts its own Kafka, PostgreSQL and sink (ports 330 above EBBTIDE_PORT_BASE), and removes their data at the end.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import Field

from infra.local.layout import PROJECT_ROOT
from infra.local.problems import SetupProblem
from perf import results
from perf.goals import at_least, at_most
from perf.results import PerformanceGoal
from perf.sender_path import Contender, PathCost, PathLatency, SenderPath
from perf.sender_peers import OtherSender, Signing, naive_peer, signing, smtp_source
from perf.sender_servers import SenderServers
from perf.watch import MeasurementFailed

FILE = results.FILE.with_name("senders.jsonl")
OLD = "bd3e027"
"""The revision before delivery was rebuilt (issue 15)."""
PACKAGES = ("cryptography", "psycopg", "confluent-kafka", "aiosmtplib", "dkimpy", "python-liquid")
OTHER_BENCHES = ("perf.bench_smtp", "perf.bench_ledger", "perf.bench_limits")
PER_CPU_S = {10: 700.0, 50: 500.0}
TIMES_OLD, TIMES_NAIVE = 1.8, 8.0
SIGNING = {10: 1.2, 50: 1.4}
MAILS_PER_S = {1: 500.0, 2: 700.0}
LEDGER_WAL_BYTES, SETTLED_ROW_BYTES, P99_MS = 2_500, 400, 400

Part = Literal["path", "old", "two", "latency", "signing", "naive", "source", "others"]
PARTS: tuple[Part, ...] = ("signing", "path", "old", "two", "latency", "naive", "source", "others")


class SendersRun(results.BenchRun):
    """Everything of one run."""

    settings: dict[str, int | str]
    paths: list[PathCost] = Field(default_factory=list)
    latency: list[PathLatency] = Field(default_factory=list)
    signing: list[Signing] = Field(default_factory=list)
    peers: list[OtherSender] = Field(default_factory=list)
    goals: list[PerformanceGoal] = Field(default_factory=list)
    failures: list[str] = Field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Mails lost or doubled, and parts that could not be measured."""
        return [f"{each.contender}: {problem}" for each in self.paths for problem in each.problems] + self.failures


def main(
    mails: Annotated[int, typer.Option(min=50, help="Mails of each path.")] = 8000,
    seconds: Annotated[float, typer.Option(min=1, help="How long the latency is measured.")] = 30,
    only: Annotated[list[str] | None, typer.Option(help=f"Only this part: {', '.join(PARTS)}.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only test that it works.")] = False,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure delivery from end to end.

    Exits with 1 if a mail is lost or doubled, or if a part cannot be measured.
    """
    mails, seconds = (300, 3) if quick else (mails, seconds)
    run = SendersRun(
        versions=results.versions(PACKAGES),
        settings={"mails": mails, "old": OLD},
    )
    chosen = [part for part in PARTS if (not only or part in only) and not (quick and part == "others")]
    try:
        _measure(run, chosen, mails, seconds)
    finally:
        run.goals = goals(run)
        results.append(run, file)
        _say(run)
    if run.problems:
        raise typer.Exit(1)


def _measure(run: SendersRun, chosen: list[Part], mails: int, seconds: float) -> None:
    if "signing" in chosen:
        run.signing = [signing(size_kb, rounds=7, times=max(5, mails // 40)) for size_kb in (10, 50)]
    new = Contender("ebbtide")
    with SenderServers() as servers:
        if "path" in chosen:
            with _failing_alone(run, "path"):
                run.paths += [_cost(servers, new, size_kb, mails) for size_kb in (10, 50)]
        if "old" in chosen:
            with _failing_alone(run, OLD), old_tree() as tree:
                old = Contender(f"ebbtide {OLD}", tree)
                run.paths += [_cost(servers, old, size_kb, mails) for size_kb in (10, 50)]
        if "two" in chosen:
            with _failing_alone(run, "two processes"):
                run.paths.append(_cost(servers, new, 10, mails, processes=2))
        if "latency" in chosen:
            rate = next((each.mails_per_s for each in run.paths if each.contender == new.name), 200.0) / 2
            with _failing_alone(run, "latency"):
                run.latency.append(SenderPath(servers, new, 10, _report).latency(rate, seconds))
        with servers.sink("peers") as sink:
            if "naive" in chosen:
                run.peers += [naive_peer(sink.port, size_kb, max(50, mails // 10)) for size_kb in (10, 50)]
            if "source" in chosen:
                with _failing_alone(run, "smtp-source"):
                    run.peers += [smtp_source(sink.port, size_kb, mails) for size_kb in (10, 50)]
        if "others" in chosen:
            _other_benches(run, servers)


def _cost(servers: SenderServers, contender: Contender, size_kb: int, mails: int, processes: int = 1) -> PathCost:
    _report(f"{contender.name}, {size_kb} KB, {processes} process(es)")
    return SenderPath(servers, contender, size_kb, _report).cost(mails, processes)


@contextmanager
def _failing_alone(run: SendersRun, part: str) -> Iterator[None]:
    """Records a part that cannot be measured as a failure; the other parts go on."""
    try:
        yield
    except (SetupProblem, MeasurementFailed, subprocess.SubprocessError) as error:
        run.failures.append(f"{part}: {error}")


@contextmanager
def old_tree() -> Iterator[Path]:
    """The files of the old revision, in a git worktree that is removed at the end."""
    tree = PROJECT_ROOT / ".local" / "perf" / f"revision-{OLD}"
    git = ["git", "-C", str(PROJECT_ROOT), "worktree"]
    with suppress(subprocess.CalledProcessError):
        subprocess.run([*git, "remove", "--force", str(tree)], capture_output=True, check=True)
    subprocess.run([*git, "add", "--detach", str(tree), OLD], capture_output=True, check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], capture_output=True, check=True)


def goals(run: SendersRun) -> list[PerformanceGoal]:
    """Each goal with what was measured."""

    def path(size_kb: int, processes: int = 1, old: bool = False) -> PathCost | None:
        name = f"ebbtide {OLD}" if old else "ebbtide"
        key = (name, size_kb, processes)
        return next((each for each in run.paths if (each.contender, each.size_kb, each.processes) == key), None)

    def times(one: float | None, other: float | None) -> float | None:
        return round(one / other, 2) if one and other else None

    found = []
    for size_kb, wanted in PER_CPU_S.items():
        new, old = path(size_kb), path(size_kb, old=True)
        naive = next((each for each in run.peers if each.name.startswith("naive") and each.size_kb == size_kb), None)
        cost, label = new.per_cpu_s if new else None, f"{size_kb} KB"
        found.append(at_least(f"{label}, messages per CPU-second", cost, wanted, "mails"))
        found.append(at_least(f"{label}, of {OLD}", times(cost, old.per_cpu_s if old else None), TIMES_OLD, "times"))
        found.append(
            at_least(f"{label}, of naive", times(cost, naive.per_cpu_s if naive else None), TIMES_NAIVE, "times")
        )
    for processes, wanted in MAILS_PER_S.items():
        new = path(10, processes)
        found.append(at_least(f"{processes} process(es)", new.mails_per_s if new else None, wanted, "mails/s"))
    found += [
        at_most(f"{each.size_kb} KB, signing against RSA", each.ratio, SIGNING[each.size_kb], "times")
        for each in run.signing
    ]
    ten = path(10)
    found.append(at_most("WAL a mail in the ledger", ten.ledger_wal_bytes if ten else None, LEDGER_WAL_BYTES, "bytes"))
    found.append(at_most("a settled row", ten.settled_row_bytes if ten else None, SETTLED_ROW_BYTES, "bytes"))
    p99_ms = run.latency[0].p99_ms if run.latency else None
    found.append(at_most("command to mail at half load, p99", p99_ms, P99_MS, "ms"))
    return found


def _other_benches(run: SendersRun, servers: SenderServers) -> None:
    """The benches of single parts, on these servers, each with its own record."""
    servers.fresh(PROJECT_ROOT)
    environment = os.environ | {"EBBTIDE_DATABASE_URL": servers.database_url}
    for name in OTHER_BENCHES:
        if importlib.util.find_spec(name) is not None:
            _report(name)
            done = subprocess.run([sys.executable, "-m", name], env=environment, check=False)
            if done.returncode != 0:
                run.failures.append(f"{name}: exit status {done.returncode}")


def _report(text: str) -> None:
    sys.stderr.write(f"  {text}\n")


def _say(run: SendersRun) -> None:
    write = sys.stdout.write
    for each in run.paths:
        write(
            f"{each.contender:<20}{each.size_kb:>3} KB {each.processes} proc {each.per_cpu_s:>7,.0f} per CPU-s "
            f"({each.sender_ms:.2f} + {each.postgres_ms:.2f} ms) {each.mails_per_s:>6,.0f}/s  "
            f"WAL {each.wal_bytes:,.0f} (ledger {each.ledger_wal_bytes:,.0f}), row {each.settled_row_bytes:,.0f}\n"
        )
    for peer in run.peers:
        write(f"{peer.name:<44}{peer.size_kb:>3} KB {peer.per_cpu_s:>9,.0f} per CPU-s {peer.mails_per_s:>7,.0f}/s\n")
    for each_signing in run.signing:
        write(f"signing {each_signing.size_kb} KB: {each_signing.model_dump_json()}\n")
    for latency in run.latency:
        write(f"latency: {latency.model_dump_json()}\n")
    for goal in run.goals:
        mark = {True: "met", False: "MISSED", None: "not measured"}[goal.met]
        write(f"{mark:<13}{goal.what}: {goal.measured} (goal {goal.wanted})\n")
    for problem in run.problems:
        write(f"PROBLEM      {problem}\n")


if __name__ == "__main__":
    typer.run(main)
