"""`ebbtide demo` as the command line calls it."""

from pathlib import Path

from rich.console import Console

from cli.demo.report import show
from cli.demo.run import Demo
from cli.environment import Environment
from cli.rules.rule_folder import read_folder
from cli.step_printer import StepPrinter
from infra.local.engine import Engine

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_demo(console: Console, environment: Environment, engine: Engine, seed: int, keep: bool) -> bool:
    """Runs the demo and prints its summary while the servers still run; true if the books balance."""
    folder = read_folder(EXAMPLES.relative_to(Path.cwd()) if EXAMPLES.is_relative_to(Path.cwd()) else EXAMPLES)
    demo = Demo(environment, engine, folder, StepPrinter(console), seed)
    with demo.running(keep):
        report = demo.run()
        show(console, report, environment)
    return report.balanced
