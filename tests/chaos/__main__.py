"""`make chaos`: the real application under random trouble, and whether what it wrote is exactly what it must be.

Exits with 0 where it is, 1 where it is not, 3 where the run could not be made.
"""

import argparse
import os
import platform
import subprocess
import sys
import traceback
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from typing import Any

import orjson
from chaos.run import CONTROLS, Chaos, ChaosPlan, ChaosReport
from rich.console import Console

from infra.local.layout import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "perf" / "results" / "chaos.jsonl"
NOT_RUN = 3


def main() -> int:
    """Runs as the arguments say."""
    given = _arguments()
    plan = ChaosPlan(
        seed=given.seed or SystemRandom().randrange(1, 10**6),
        events=given.events,
        minutes=given.minutes,
        workers=given.workers,
        control=given.control,
        drain_s=given.drain,
    )
    console = Console(highlight=False, width=160, stderr=given.json)
    title = f"seed {plan.seed}  {plan.events:,} events in {plan.minutes:g} min, {plan.workers} workers"
    console.print(title + (f", control {plan.control}" if plan.control else ""))
    try:
        with Chaos(plan, console) as chaos:
            report = chaos.play()
    except Exception:  # noqa: BLE001 - any error means that there is no verdict
        traceback.print_exc()
        console.print(f"seed {plan.seed}  the run could not be made")
        return NOT_RUN
    record = _record(plan, report)
    if given.results:
        given.results.parent.mkdir(parents=True, exist_ok=True)
        with given.results.open("ab") as file:
            file.write(orjson.dumps(record) + b"\n")
    _print(console, report)
    if given.json:
        sys.stdout.write(orjson.dumps(record).decode() + "\n")
    console.print(f"seed {plan.seed}  {'passed' if report.passed else 'FAILED'}")
    return 0 if report.passed else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=…", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="run one again; by default a new one, which is printed")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=5.0, help="over which the events are published")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--drain", type=float, default=60.0, help="seconds that timers have at the end")
    parser.add_argument("--control", choices=sorted(CONTROLS), default="", help="a mistake that must be reported")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, the rest beside it")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where a line is appended")
    return parser.parse_args()


def _record(plan: ChaosPlan, report: ChaosReport) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("faust-streaming", "confluent-kafka")}
        | {"python": platform.python_version()},
        "seed": plan.seed,
        "events": plan.events,
        "minutes": plan.minutes,
        "workers": plan.workers,
        "control": plan.control or None,
        "happened": dict(sorted(report.happened.items())),
        "failpoints": sorted(report.failpoints),
        "compared": dict(sorted(report.findings.compared.items())),
        "wrong": dict(sorted(report.findings.wrong.items())),
        "seconds": {name: round(s, 1) for name, s in report.seconds.items()},
        "passed": report.passed,
    }


def _print(console: Console, report: ChaosReport) -> None:
    found = report.findings
    console.print("happened: " + ", ".join(f"{name} {n:,}" for name, n in sorted(report.happened.items())))
    console.print("failpoints: " + ", ".join(sorted(report.failpoints)))
    console.print("compared: " + ", ".join(f"{name} {n:,}" for name, n in sorted(found.compared.items())))
    for what in ("decisions", "commands"):
        kinds = ("lost", "twice", "unexpected", "different")
        console.print(f"{what}: " + ", ".join(f"{found.wrong[f'{what} {kind}']:,} {kind}" for kind in kinds))
    console.print(f"caps exceeded: {found.wrong['caps exceeded']:,}")
    for kind, count in sorted(found.wrong.items()):
        console.print(f"wrong: {kind} {count:,}, the first: {str(found.first[kind])[:600]}", markup=False)
    if not report.passed:
        console.print(f"logs: {report.folder}")


if __name__ == "__main__":
    sys.exit(main())
