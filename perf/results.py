"""The record of a run: results, machine, and which goals were met. Appended as JSON and never changed."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.local.layout import PROJECT_ROOT

FILE = PROJECT_ROOT / "perf" / "results" / "streams.jsonl"
PACKAGES = ("confluent-kafka", "faust-streaming", "mode-streaming", "aiokafka", "orjson", "pydantic")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Throughput(_Model):
    """One contender over one workload. Rates are None if all was committed at once, because there were too few
    events."""

    name: str
    workload: str = "shop"
    measured: Literal["outside", "inside"]
    """By what its group committed, as seen from outside, or by the process itself."""
    distribution: Literal["uniform", "zipf"]
    events: int
    users: int
    partitions: int
    rules: int = 0
    workers: int = 1
    seconds: float
    events_per_s: float | None
    cpu_us_per_event: float | None
    warm_events_per_s: float | None = None
    warm_cpu_us_per_event: float | None = None
    """Both over the last 70 % of the events, up to the last commit but one."""
    cpu_us_by_thread: dict[str, float] = Field(default_factory=dict)
    """Microseconds an event by kind of thread."""
    peak_mib: float
    match_share: float | None = None
    commands: int | None = None
    commands_expected: int | None = None
    decisions: int | None = None
    problems: list[str] = Field(default_factory=list)
    """Errors in what it wrote."""


class Latency(_Model):
    """From a record's append time to the receipt of its command by another process, in milliseconds."""

    events_per_s: float
    seconds: float
    commands: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    behind: int
    """Events not committed when the last was appended: the backlog of a worker that is too slow."""
    problems: list[str] = Field(default_factory=list)


class PerformanceGoal(_Model):
    """A goal, the measured value, and whether it was met; None if nothing was measured."""

    what: str
    wanted: str
    measured: float | None
    met: bool | None


class BenchRun(_Model):
    """What the record of every bench begins with, taken when the run begins. Subclasses add what they measure."""

    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    revision: str = Field(default_factory=lambda: revision())
    machine: dict[str, str | int] = Field(default_factory=lambda: machine())
    versions: dict[str, str]
    load: float = Field(default_factory=lambda: round(os.getloadavg()[0], 2))
    """The machine's load average. On a busy machine rates are too low; their ratios hold."""


class Run(_Model):
    """Everything of one run."""

    at: datetime
    revision: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    settings: dict[str, Any]
    throughput: list[Throughput] = Field(default_factory=list)
    latency: list[Latency] = Field(default_factory=list)
    scale: list[Throughput] = Field(default_factory=list)
    sweeps: dict[str, list[Throughput]] = Field(default_factory=dict)
    recovery: dict[str, Any] | None = None
    goals: list[PerformanceGoal] = Field(default_factory=list)
    failures: list[str] = Field(default_factory=list)
    """Parts that could not be measured, with the reason."""

    @property
    def problems(self) -> list[str]:
        """All errors of the run."""
        measured = [*self.throughput, *self.scale, *(each for points in self.sweeps.values() for each in points)]
        found = [f"{each.name}, {each.distribution}: {problem}" for each in measured for problem in each.problems]
        found += self.failures
        return found + [f"latency: {problem}" for each in self.latency for problem in each.problems]


def new_run(settings: dict[str, Any]) -> Run:
    """A new run of this revision on this machine, which begins now."""
    return Run(
        at=datetime.now(UTC),
        revision=revision(),
        machine=machine(),
        versions={"kafka": _kafka(), **versions()},
        settings=settings,
    )


def machine() -> dict[str, str | int]:
    """The machine."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": platform.release(),
    }


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of the relevant packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def append(run: BaseModel, file: Path) -> None:
    """Appends the run to the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(run.model_dump_json() + "\n")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _kafka() -> str:
    jars = (PROJECT_ROOT / ".local" / "kafka" / "libs").glob("kafka_*.jar")
    return max((jar.stem.rpartition("-")[2] for jar in jars), default="unknown")


def revision() -> str:
    """The measured commit, marked if there are uncommitted changes."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
