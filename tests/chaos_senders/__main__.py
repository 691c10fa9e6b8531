"""`make chaos-senders`: real delivery workers under random trouble, and whether each mail is where the books say.

Workers are killed, frozen, stopped and joined by others, and servers are killed, while commands are delivered to a
receiver that defers, refuses, hangs up and drops mails, and to endpoints that fail at random. Exits with 0 where
nothing is lost, stuck or sent twice without saying so, 1 where something is, 3 where the run could not be made, 130
after Ctrl-C.
"""

import argparse
import sys
from typing import Any

from chaos_senders.run import CONTROLS, SenderChaos, SenderChaosPlan
from drivers.chaos_command import ChaosReport, chaos_parser, counts, new_seed, record_header, run_chaos
from rich.console import Console

from infra.local.layout import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "perf" / "results" / "chaos_senders.jsonl"
WRONG = (
    *("commands lost", "commands stuck in started", "mails lost", "mails doubled", "webhooks lost"),
    *("webhooks that no outcome tells of", "outcomes lost", "commands unexplained", "the balance is wrong"),
)
"""What is shown also where there is none of it."""


def main() -> int:
    """Runs as the arguments say."""
    given = _arguments()
    plan = SenderChaosPlan(
        seed=given.seed or new_seed(),
        commands=given.commands,
        troubles=given.troubles,
        outages=0 if given.servers else given.outages,
        minutes=given.minutes,
        workers=given.workers,
        control=given.control,
        session_s=given.session,
        lease_s=given.lease,
        kafka=given.servers[0] if given.servers else "",
        database_url=given.servers[1] if given.servers else "",
    )
    title = f"seed {plan.seed}  {plan.commands:,} commands and {plan.troubles} troubles in {plan.minutes:g} min, "
    title += f"{plan.workers} workers" + (f", control {plan.control}" if plan.control else "")

    def play(console: Console) -> ChaosReport:
        with SenderChaos(plan, console) as chaos:
            return chaos.play()

    return run_chaos(given, title, play, record=lambda _: _record(plan), show=_show)


def _arguments() -> argparse.Namespace:
    plan = SenderChaosPlan(seed=0)
    parser = chaos_parser("chaos-senders", __doc__ or "", CONTROLS, RESULTS)
    parser.add_argument("--commands", type=int, default=plan.commands)
    parser.add_argument("--troubles", type=int, default=plan.troubles, help="kills, freezes and rebalances")
    parser.add_argument("--outages", type=int, default=plan.outages, help="of each server")
    parser.add_argument("--minutes", type=float, default=plan.minutes, help="over which all of this happens")
    parser.add_argument(
        "--servers", nargs=2, metavar=("KAFKA", "DATABASE_URL"), help="use these, whose topics are lost, and kill none"
    )
    parser.add_argument("--session", type=float, default=plan.session_s, help="seconds of Kafka's session")
    parser.add_argument("--lease", type=float, default=plan.lease_s, help="seconds of a worker's lease")
    return parser.parse_args()


def _record(plan: SenderChaosPlan) -> dict[str, Any]:
    return record_header("confluent-kafka", "psycopg", "aiosmtplib") | {
        "seed": plan.seed,
        "commands": plan.commands,
        "troubles": plan.troubles,
        "outages": 0 if plan.control else plan.outages,
        "minutes": plan.minutes,
        "workers": plan.workers,
        "session_s": plan.session_s,
        "lease_s": plan.lease_s,
        "control": plan.control or None,
    }


def _show(console: Console, report: ChaosReport) -> None:
    console.print("happened: " + counts(report.happened))
    console.print("compared: " + counts(report.findings.compared))
    console.print(", ".join(f"{kind}: {report.findings.wrong[kind]:,}" for kind in WRONG))


if __name__ == "__main__":
    sys.exit(main())
