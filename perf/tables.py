"""A run's results as tables for people."""

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table

from perf.goals import ratio
from perf.programs import BARE_RULE, BARE_SPIKE
from perf.results import Latency, PerformanceGoal, Run, Throughput
from perf.throughput import FAUST

ABSENT = "–"


def show(console: Console, run: Run) -> None:
    """All that was measured, then what was wrong, then the goals."""
    if run.throughput:
        _show_throughput(console, run.throughput)
    for each in run.latency:
        _show_latency(console, each)
    if run.scale:
        _show_points(console, "Scale: one rule, unpinned beside the broker", "workers", run.scale)
    for name, points in run.sweeps.items():
        _show_points(console, f"Sweep over {name}", name, points)
    for problem in run.problems:
        console.print(f"[red]wrong[/] {problem}", soft_wrap=True)
    show_goals(console, run.goals)


def _show_throughput(console: Console, results: Sequence[Throughput]) -> None:
    def of(other: str, form: str) -> Callable[[Throughput], str]:
        return lambda each: _number(ratio(list(results), each, other), form)

    columns: list[tuple[str, Callable[[Throughput], str]]] = [
        ("events/s", lambda each: _number(each.events_per_s, ",.0f")),
        ("µs CPU", lambda each: _number(each.cpu_us_per_event, ".1f")),
        ("warm /s", lambda each: _number(each.warm_events_per_s, ",.0f")),
        ("warm µs", lambda each: _number(each.warm_cpu_us_per_event, ".1f")),
        ("peak MiB", lambda each: _number(each.peak_mib, ",.0f")),
        ("of bare loop", of(BARE_SPIKE, ".0%")),
        ("same work", of(BARE_RULE, ".0%")),
        ("× Faust", of(FAUST.name, ".1f")),
        ("match", lambda each: _number(each.match_share, ".1%")),
        ("send", lambda each: _share(each.commands, each.events)),
        ("decide", lambda each: _share(each.decisions, each.events)),
    ]
    filled = [(name, cell) for name, cell in columns if any(cell(each) != ABSENT for each in results)]
    table = _table("Throughput of one process", ("contender", "events"), [name for name, _ in filled])
    for each in results:
        table.add_row(each.name, f"{each.workload}, {each.distribution}", *(cell(each) for _, cell in filled))
    console.print(table)


def _show_latency(console: Console, latency: Latency) -> None:
    table = _table(f"Latency at {latency.events_per_s:,.0f} events/s, append time to receipt of the command", (), [])
    for name in ("commands", "p50 ms", "p95 ms", "p99 ms", "max ms", "behind"):
        table.add_column(name, justify="right")
    times = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
    table.add_row(f"{latency.commands:,}", *(f"{ms:,.0f}" for ms in times), f"{latency.behind:,}")
    console.print(table)


def _show_points(console: Console, title: str, name: str, points: Sequence[Throughput]) -> None:
    table = _table(title, (), [name, "events/s", "µs CPU/event", "peak MiB", "send"])
    for point in points:
        table.add_row(
            f"{getattr(point, name):,}",
            _number(point.events_per_s, ",.0f"),
            _number(point.cpu_us_per_event, ".1f"),
            _number(point.peak_mib, ",.0f"),
            _share(point.commands, point.events),
        )
    console.print(table)


def show_goals(console: Console, goals: Iterable[PerformanceGoal]) -> None:
    """Each goal, and whether it was met."""
    table = _table("Goals", ("goal", "wanted"), ["measured", "met"])
    for goal in goals:
        form = ",.0f" if (goal.measured or 0) >= 100 else ".2f"
        met = ABSENT if goal.met is None else "[green]yes[/]" if goal.met else "[red]no[/]"
        table.add_row(goal.what, goal.wanted, _number(goal.measured, form), met)
    console.print(table)


def _table(title: str, texts: Iterable[str], numbers: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in texts:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _number(value: float | None, form: str) -> str:
    return ABSENT if value is None else format(value, form)


def _share(count: int | None, events: int) -> str:
    return ABSENT if count is None else f"{count / events:.2%}"
