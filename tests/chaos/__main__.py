"""`make chaos`: the real application under random trouble, and whether what it wrote is exactly what it must be.

Exits with 0 where it is, 1 where it is not, 3 where the run could not be made.
"""

import argparse
import sys
from typing import Any

from chaos.run import CONTROLS, Chaos, ChaosPlan, StreamChaosReport
from drivers.chaos_command import chaos_parser, counts, new_seed, record_header, run_chaos
from rich.console import Console

from infra.local.layout import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "perf" / "results" / "chaos.jsonl"


def main() -> int:
    """Runs as the arguments say."""
    given = _arguments()
    plan = ChaosPlan(
        seed=given.seed or new_seed(),
        events=given.events,
        minutes=given.minutes,
        workers=given.workers,
        control=given.control,
        drain_s=given.drain,
    )
    title = f"seed {plan.seed}  {plan.events:,} events in {plan.minutes:g} min, {plan.workers} workers"
    title += f", control {plan.control}" if plan.control else ""

    def play(console: Console) -> StreamChaosReport:
        with Chaos(plan, console) as chaos:
            return chaos.play()

    return run_chaos(given, title, play, record=lambda report: _record(plan, report), show=_show)


def _arguments() -> argparse.Namespace:
    parser = chaos_parser("chaos", __doc__ or "", CONTROLS, RESULTS)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=5.0, help="over which the events are published")
    parser.add_argument("--drain", type=float, default=60.0, help="seconds that timers have at the end")
    return parser.parse_args()


def _record(plan: ChaosPlan, report: StreamChaosReport) -> dict[str, Any]:
    return record_header("faust-streaming", "confluent-kafka") | {
        "seed": plan.seed,
        "events": plan.events,
        "minutes": plan.minutes,
        "workers": plan.workers,
        "control": plan.control or None,
        "failpoints": sorted(report.failpoints),
    }


def _show(console: Console, report: StreamChaosReport) -> None:
    found = report.findings
    console.print("happened: " + counts(report.happened))
    console.print("failpoints: " + ", ".join(sorted(report.failpoints)))
    console.print("compared: " + counts(found.compared))
    for what in ("decisions", "commands"):
        kinds = ("lost", "twice", "unexpected", "different")
        console.print(f"{what}: " + ", ".join(f"{found.wrong[f'{what} {kind}']:,} {kind}" for kind in kinds))
    console.print(f"caps exceeded: {found.wrong['caps exceeded']:,}")


if __name__ == "__main__":
    sys.exit(main())
