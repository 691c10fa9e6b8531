"""The command line of a chaos run: what all of them ask for, the dated record, and the exit status.

It is 0 where all is as it must be, 1 where it is not, 3 where the run could not be made, and 130 after Ctrl-C.
"""

import os
import platform
import signal
import subprocess
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeVar

import orjson
from rich.console import Console
from slow_model.compare import Comparison

from infra.local.layout import PROJECT_ROOT

R = TypeVar("R", bound="ChaosReport")
FAILED = 1
NOT_RUN = 3
INTERRUPTED = 130


@dataclass
class ChaosReport:
    """What came of a run."""

    findings: Comparison
    happened: Counter[str]
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.findings.clean


def chaos_parser(target: str, about: str, controls: Collection[str], results: Path) -> ArgumentParser:
    """The options of every chaos run."""
    parser = ArgumentParser(prog=f"make {target} ARGS=…", description=about)
    parser.add_argument("--seed", type=int, default=0, help="run one again; by default a new one, which is printed")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--control", choices=sorted(controls), default="", help="a mistake that must be reported")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, the rest beside it")
    parser.add_argument("--results", type=Path, default=results, help="where a line is appended")
    return parser


def new_seed() -> int:
    """A seed for a run that is not to repeat another."""
    return SystemRandom().randrange(1, 10**6)


def run_chaos(
    given: Namespace,
    title: str,
    play: Callable[[Console], R],
    *,
    record: Callable[[R], dict[str, Any]],
    show: Callable[[Console, R], None],
) -> int:
    """Plays, appends the record, shows what was found. Returns the exit status."""
    for name in (signal.SIGINT, signal.SIGTERM):  # a shell in the background starts programs that ignore Ctrl-C
        signal.signal(name, signal.default_int_handler)
    console = Console(highlight=False, width=160, stderr=given.json)
    console.print(title, soft_wrap=True)
    seed = title.split("  ")[0]
    try:
        report = play(console)
    except KeyboardInterrupt:
        console.print(f"{seed}  interrupted: no verdict")
        return INTERRUPTED
    except Exception:  # noqa: BLE001 - any error means that there is no verdict
        traceback.print_exc()
        console.print(f"{seed}  the run could not be made")
        return NOT_RUN
    line = orjson.dumps(record(report) | _found(report))
    given.results.parent.mkdir(parents=True, exist_ok=True)
    with given.results.open("ab") as file:
        file.write(line + b"\n")
    show(console, report)
    _show_wrong(console, report)
    if given.json:
        sys.stdout.write(line.decode() + "\n")
    console.print(f"{seed}  {'passed' if report.passed else 'FAILED'}")
    return 0 if report.passed else FAILED


def chaos(module: str, results: Path, *arguments: str) -> tuple[int, str]:
    """Runs a chaos as a program of its own. The exit status and the whole output."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--results", str(results), *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "tests")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def record_header(*packages: str) -> dict[str, Any]:
    """When, of what, and where a run was."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
    }


def counts(found: Counter[str]) -> str:
    """Counts by name, for people to read."""
    return ", ".join(f"{name} {n:,}" for name, n in sorted(found.items()))


def _found(report: ChaosReport) -> dict[str, Any]:
    return {
        "happened": dict(sorted(report.happened.items())),
        "compared": dict(sorted(report.findings.compared.items())),
        "wrong": dict(sorted(report.findings.wrong.items())),
        "seconds": {name: round(s, 1) for name, s in report.seconds.items()},
        "passed": report.passed,
    }


def _show_wrong(console: Console, report: ChaosReport) -> None:
    found = report.findings
    for kind, count in sorted(found.wrong.items()):
        first = str(found.first[kind])[:600]
        console.print(f"wrong: {kind} {count:,}, the first: {first}", markup=False, soft_wrap=True)
    if not report.passed:
        console.print(f"logs: {report.folder}", soft_wrap=True)
