"""`check`, `test` and `backtest` as the command line shows them; what they find comes from the pure core."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.apply import Folder, read_folder
from schemas.codec import DecodeError, decode
from schemas.events import Event
from senders.render import TemplateError, parse_template
from triggers.backtest import BacktestResult, backtest
from triggers.casefile import run_cases
from triggers.loader import check, load_rules


class BadLog(ValueError):
    """A line of an event log is no event."""


def check_folder(console: Console, paths: Sequence[Path]) -> bool:
    """Prints every problem of the rules and templates; true where something is wrong (a warning is not)."""
    folder = read_folder(*paths)
    diagnostics = check(folder.rules, folder.template_hashes())
    for diagnostic in diagnostics:
        console.print(diagnostic.render(), markup=False, soft_wrap=True)
    broken = [problem for problem in map(_template_problem, folder.templates.items()) if problem]
    for problem in broken:
        console.print(problem, markup=False, soft_wrap=True)
    errors = len(broken) + sum(not d.is_warning for d in diagnostics)
    warnings = sum(d.is_warning for d in diagnostics)
    found = f"{len(folder.rules)} rule files, {len(folder.templates)} templates"
    console.print(f"{found}: {_counted(errors, 'problem')}, {_counted(warnings, 'warning')}")
    return errors > 0


def test_folder(console: Console, paths: Sequence[Path]) -> bool:
    """Runs and prints every case; true where one failed. Raises InvalidRules for rules that do not load."""
    folder = read_folder(*paths)
    results = run_cases(load_rules(folder.rules, folder.template_hashes()))
    for result in results:
        mark = "[green]✓[/]" if result.passed else "[red]✗[/]"
        console.print(f"{mark} {result.trigger}: ", end="")
        console.print(result.name, markup=False, soft_wrap=True)
        if not result.passed:
            console.print(f"    {result.path}:{result.line}", style="dim", soft_wrap=True)
            for line in result.diff:
                console.print(f"    {line}", markup=False, soft_wrap=True)
    failed = sum(not result.passed for result in results)
    console.print(f"{len(results) - failed} passed, {failed} failed" if results else "no cases found")
    return failed > 0


@dataclass(frozen=True, slots=True)
class Tested:
    """A backtest and how long it took."""

    result: BacktestResult
    took_s: float

    def crossings(self) -> list[datetime]:
        """The instants after the last event at which some user's score will cross a rule's line."""
        levels = (level for state in self.result.states.values() for level in state.levels.values())
        return [datetime.fromtimestamp(level.due / 1000, UTC) for level in levels if level.due is not None]

    def summary(self) -> dict[str, Any]:
        """The figures for `--json`."""
        result = self.result
        return {
            "events": result.events,
            "users": len(result.states),
            "from": _moment(result.first_ms),
            "to": _moment(result.last_ms),
            "sends_by_trigger": dict(result.sends_by_trigger()),
            "sends_by_week": {
                week: {t: n for (t, w), n in result.sends.items() if w == week}
                for week in sorted({w for _, w in result.sends})
            },
            "decisions": [
                {"trigger": t, "outcome": o, "reason": r or None, "count": n}
                for (t, o, r), n in sorted(result.decisions.items())
            ],
            "counts": dict(result.counts),
            "notes": result.notes,
        }


def run_backtest(folder: Folder, log: Path, progress: Callable[[int], None] | None = None) -> Tested:
    """The folder's rules over a file of events, one JSON object a line; raises InvalidRules or BadLog."""
    rules = folder.load()
    began = datetime.now(UTC)
    result = backtest(rules, read_log(log), progress=progress)
    return Tested(result, (datetime.now(UTC) - began).total_seconds())


def read_log(log: Path) -> Iterator[Event]:
    """The events of a file of JSON lines; raises BadLog with file and line."""
    with log.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield decode(Event, line)
                except DecodeError as error:
                    raise BadLog(f"{log}:{number}: not an event: {error.detail}") from None


def show_backtest(console: Console, tested: Tested) -> None:
    """Sends by rule and week as bars, decisions by reason, and what to know about the run."""
    result = tested.result
    triggers = sorted(result.sends_by_trigger())
    weeks = sorted({week for _, week in result.sends})
    table = Table(title="Sends by rule and ISO week", title_justify="left")
    table.add_column("week")
    for trigger in triggers:
        table.add_column(trigger, justify="right")
    table.add_column("")
    most = max((sum(result.sends[t, w] for t in triggers) for w in weeks), default=1)
    for week in weeks:
        counts = [result.sends[trigger, week] for trigger in triggers]
        table.add_row(week, *(f"{n:,}" if n else "" for n in counts), "█" * round(30 * sum(counts) / most))
    table.add_section()
    table.add_row("all", *(f"{result.sends_by_trigger()[t]:,}" for t in triggers), "")
    console.print(table)
    decided = Table(title="Decisions", title_justify="left")
    for column in ("rule", "outcome", "reason"):
        decided.add_column(column)
    decided.add_column("count", justify="right")
    for (trigger, outcome, reason), count in sorted(result.decisions.items()):
        decided.add_row(trigger, outcome, reason, f"{count:,}")
    console.print(decided)
    rate = result.events / tested.took_s if tested.took_s else 0
    console.print(
        f"{result.events:,} events of {len(result.states):,} users, {_moment(result.first_ms)[:10]} to "
        f"{_moment(result.last_ms)[:10]}, in {tested.took_s:.1f} s ({rate:,.0f}/s)"
    )
    for thing, number in sorted(result.counts.items()):
        console.print(f"  {thing}: {number:,}", style="dim")
    for note in result.notes:
        console.print(f"  note: {note}", style="dim", markup=False)


def _template_problem(item: tuple[str, Any]) -> str | None:
    name, file = item
    try:
        parse_template(name, file.text)
    except TemplateError as error:
        return f"{file.path}: {error}"
    return None


def _moment(ms: int | None) -> str:
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
