"""A backtest on a terminal: tables, a chart and figures; old rules beside new ones."""

from collections import Counter
from textwrap import wrap

from rich.console import Console

from cli.backtest.comparison_tables import print_lines, show_comparison
from cli.backtest.run import BacktestRun, day_text, moment
from cli.columns import aligned
from cli.rules.chart import LABEL, bar, columns, line
from schemas.wording import counted
from triggers.cases.backtest import BacktestResult
from triggers.measures.shapes import MS

_WEEKS_WIDTH = 26
"""Characters of the little chart beside each rule: half a year of weeks."""
_BAR_WIDTH = 40
_MANY_PROBLEMS = 10
"""Problems that are printed as text; one line counts the others."""


def show_backtest(console: Console, tested: BacktestRun) -> None:
    """Prints sends by day, week and rule, decisions by reason, problems and notes."""
    result = tested.result
    _show_days(console, result)
    _show_weeks(console, result)
    _show_decisions(console, result)
    if tested.comparison is not None:
        show_comparison(console, tested.comparison)
    console.print(_extent(tested), soft_wrap=True)
    for thing, number in sorted(result.counts.items()):
        console.print(f"  {thing}: {number:,}", style="dim")
    for skipped in tested.skipped:
        console.print(f"  {skipped}", markup=False, soft_wrap=True)
    _show_problems(console, result)
    for note in result.notes:
        _print_note(console, f"note: {note}")


def _print_note(console: Console, note: str) -> None:
    """Prints a note, wrapped at the width of the console; a long word stays whole."""
    for number, each in enumerate(wrap(note, console.width - 4, break_long_words=False, break_on_hyphens=False)):
        console.print(f"{'    ' if number else '  '}{each}", style="dim", markup=False, soft_wrap=True)


def _extent(tested: BacktestRun) -> str:
    """The number of events and users, the first and the last day, and the speed."""
    extent = tested.result.extent
    if not extent.events:
        return "no events before the end"
    rate = extent.events / tested.took_s if tested.took_s else 0
    return (
        f"{counted(extent.events, 'event')} of {counted(tested.result.users, 'user')}, "
        f"{moment(extent.first_ms)[:10]} to {moment(extent.last_ms)[:10]}, in {tested.took_s:.1f} s ({rate:,.0f}/s)"
    )


def _show_days(console: Console, result: BacktestResult) -> None:
    by_day = result.sends_by_day
    if result.extent.first_ms is None or result.extent.last_ms is None or not by_day:
        return
    first, last = result.extent.first_ms // MS["d"], max(result.extent.last_ms // MS["d"], *by_day)
    counts = [by_day[day] for day in range(first, last + 1)]
    lines, days_each = columns(counts, console.width - LABEL - 2)
    unit = "a day" if days_each == 1 else f"in {days_each} days"
    console.print(f"Sends {unit}, {day_text(first)} to {day_text(last)}")
    print_lines(console, lines)


def _show_weeks(console: Console, result: BacktestResult) -> None:
    by_week: Counter[str] = Counter()
    for (_, week), number in result.sends.items():
        by_week[week] += number
    weeks = sorted(by_week)
    most = max(by_week.values(), default=1)
    console.print("Sends by ISO week")
    rows = [(week, f"{by_week[week]:,}", bar(by_week[week], most, _BAR_WIDTH)) for week in weeks]
    print_lines(console, aligned([*rows, ("all", f"{sum(by_week.values()):,}", "")], right=(1,)))
    first_to_last = f", {weeks[0]} to {weeks[-1]}" if weeks else ""
    console.print(f"Sends by rule{first_to_last}; --json has the weeks of each rule")
    rows = [
        (f"{number:,}", line([result.sends[rule, week] for week in weeks], _WEEKS_WIDTH), rule)
        for rule, number in sorted(result.sends_by_trigger().items())
    ]
    print_lines(console, aligned([("sends", "weeks", "rule"), *rows], right=(0,)))


def _show_decisions(console: Console, result: BacktestResult) -> None:
    rows = [
        (f"{count:,}", outcome, reason, rule) for (rule, outcome, reason), count in sorted(result.decisions.items())
    ]
    console.print("Decisions")
    print_lines(console, aligned([("count", "outcome", "reason", "rule"), *rows], right=(0,)))


def _show_problems(console: Console, result: BacktestResult) -> None:
    messages = Counter(f"{p.trigger} {p.place}: {p.detail}" for p in result.problems)
    for problem, count in list(messages.items())[:_MANY_PROBLEMS]:
        times = f" ({counted(count, 'time')})" if count > 1 else ""
        console.print(f"  problem: {problem}{times}", style="dim", markup=False, soft_wrap=True)
    if len(messages) > _MANY_PROBLEMS:
        console.print(f"  and {len(messages) - _MANY_PROBLEMS} more kinds of problem; --json lists them", style="dim")
