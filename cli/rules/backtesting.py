"""`ebbtide backtest`: runs rules over a log of past events, and shows tables, a chart and figures."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from textwrap import wrap
from typing import Any

from rich.console import Console

from cli.columns import aligned
from cli.rules.chart import LABEL, bar, columns, line
from cli.rules.event_log import SkippedLines
from schemas.decisions import Decision
from schemas.wording import counted
from triggers.cases.backtest import BacktestResult, play
from triggers.cases.timelines import Timelines

_WEEKS_WIDTH = 26
"""Characters of the little chart beside each rule: half a year of weeks."""
_BAR_WIDTH = 40
_MANY_PROBLEMS = 10
"""Problems that are printed as text; one line counts the others."""
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class BacktestRun:
    """A backtest, how long it took, and the skipped lines of the log."""

    result: BacktestResult
    took_s: float
    skipped: list[SkippedLines] = field(default_factory=list)

    def crossings(self) -> list[datetime]:
        """The instants after the last event at which a user's score will cross the line of a rule."""
        levels = (level for user in self.result.states for level in self.result.state(user).levels.values())
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
            "sends_by_day": {_day(day).isoformat(): n for day, n in sorted(result.sends_by_day.items())},
            "sends_by_week": {
                week: {t: n for (t, w), n in result.sends.items() if w == week}
                for week in sorted({w for _, w in result.sends})
            },
            "decisions": [
                {"trigger": t, "outcome": o, "reason": r or None, "count": n}
                for (t, o, r), n in sorted(result.decisions.items())
            ],
            "counts": dict(result.counts),
            "problems": [{"trigger": p.trigger, "place": p.place, "detail": p.detail} for p in result.problems],
            "skipped": [asdict(each) for each in self.skipped],
            "notes": result.notes,
        }


def run_backtest(
    timelines: Timelines,
    progress: Callable[[int], None] | None = None,
    on_decision: Callable[[Decision], None] | None = None,
) -> BacktestRun:
    """Runs rules over events, and takes the time."""
    began = datetime.now(UTC)
    result = play(timelines, progress=progress, on_decision=on_decision)
    return BacktestRun(result, (datetime.now(UTC) - began).total_seconds())


def note_beside(beside: Collection[str]) -> list[str]:
    """A note about fields outside of the events' `properties`; none if there are no such fields."""
    if not beside:
        return []
    first = min(beside)
    form = f'{{"properties": {{"{first}": …}}}}'
    return [f"{', '.join(sorted(beside)[:10])}: ignored outside of `properties`; write {form}"]


def show_backtest(console: Console, tested: BacktestRun) -> None:
    """Prints sends by day, week and rule, decisions by reason, problems and notes."""
    result = tested.result
    _show_days(console, result)
    _show_weeks(console, result)
    _show_decisions(console, result)
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
    result = tested.result
    if not result.events:
        return "the log has no events"
    rate = result.events / tested.took_s if tested.took_s else 0
    return (
        f"{counted(result.events, 'event')} of {counted(len(result.states), 'user')}, "
        f"{_moment(result.first_ms)[:10]} to {_moment(result.last_ms)[:10]}, in {tested.took_s:.1f} s ({rate:,.0f}/s)"
    )


def _show_days(console: Console, result: BacktestResult) -> None:
    if result.first_ms is None or result.last_ms is None or not result.sends_by_day:
        return
    first, last = result.first_ms // 86_400_000, result.last_ms // 86_400_000
    counts = [result.sends_by_day[day] for day in range(first, last + 1)]
    lines, days_each = columns(counts, console.width - LABEL - 2)
    unit = "a day" if days_each == 1 else f"in {days_each} days"
    console.print(f"Sends {unit}, {_day(first)} to {_day(last)}")
    _print(console, lines)


def _show_weeks(console: Console, result: BacktestResult) -> None:
    by_week: Counter[str] = Counter()
    for (_, week), number in result.sends.items():
        by_week[week] += number
    weeks = sorted(by_week)
    most = max(by_week.values(), default=1)
    console.print("Sends by ISO week")
    rows = [(week, f"{by_week[week]:,}", bar(by_week[week], most, _BAR_WIDTH)) for week in weeks]
    _print(console, aligned([*rows, ("all", f"{sum(by_week.values()):,}", "")], right=(1,)))
    first_to_last = f", {weeks[0]} to {weeks[-1]}" if weeks else ""
    console.print(f"Sends by rule{first_to_last}; --json has the weeks of each rule")
    rows = [
        (f"{number:,}", line([result.sends[rule, week] for week in weeks], _WEEKS_WIDTH), rule)
        for rule, number in sorted(result.sends_by_trigger().items())
    ]
    _print(console, aligned([("sends", "weeks", "rule"), *rows], right=(0,)))


def _show_decisions(console: Console, result: BacktestResult) -> None:
    rows = [
        (f"{count:,}", outcome, reason, rule) for (rule, outcome, reason), count in sorted(result.decisions.items())
    ]
    console.print("Decisions")
    _print(console, aligned([("count", "outcome", "reason", "rule"), *rows], right=(0,)))


def _show_problems(console: Console, result: BacktestResult) -> None:
    messages = Counter(f"{p.trigger} {p.place}: {p.detail}" for p in result.problems)
    for problem, count in list(messages.items())[:_MANY_PROBLEMS]:
        times = f" ({counted(count, 'time')})" if count > 1 else ""
        console.print(f"  problem: {problem}{times}", style="dim", markup=False, soft_wrap=True)
    if len(messages) > _MANY_PROBLEMS:
        console.print(f"  and {len(messages) - _MANY_PROBLEMS} more kinds of problem; --json lists them", style="dim")


def _print(console: Console, lines: Iterable[str]) -> None:
    for each in lines:
        console.print(each, markup=False, soft_wrap=True)
    console.print()


def _day(number: int) -> date:
    return _EPOCH + timedelta(days=number)


def _moment(ms: int | None) -> str:
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat()
