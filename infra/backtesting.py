"""`ebbtide backtest`: rules over a past log of events, told as tables, a chart and figures."""

import gzip
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from infra.apply import Folder
from infra.chart import LABEL, columns
from schemas.codec import DecodeError, decode
from schemas.decisions import Decision
from schemas.events import Event
from triggers.backtest import BacktestResult, backtest
from triggers.diagnostics import counted

_READ_EVERY = 10_000
_EPOCH = date(1970, 1, 1)


class BadLog(ValueError):
    """An event log cannot be read; the message names the file and the line."""


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
            "notes": result.notes,
        }


def run_backtest(
    folder: Folder,
    events: Iterable[Event],
    progress: Callable[[int], None] | None = None,
    on_decision: Callable[[Decision], None] | None = None,
) -> Tested:
    """The folder's rules over events; raises InvalidRules, or BadLog where the events are read from a log."""
    rules = folder.load()
    began = datetime.now(UTC)
    result = backtest(rules, events, progress=progress, on_decision=on_decision)
    return Tested(result, (datetime.now(UTC) - began).total_seconds())


def read_log(
    log: Path, progress: Callable[[int], None] | None = None, beside: set[str] | None = None
) -> Iterator[Event]:
    """The events of a log, one JSON object a line: a file, gzip where it ends in `.gz`, or `-` for standard input.

    Into `beside` go the fields of events without properties that are none of an event's. Raises BadLog with file and
    line.
    """
    number = 0
    with ExitStack() as stack:
        try:
            for number, line in enumerate(_lines(log, stack), 1):
                if line.strip():
                    event = decode(Event, line)
                    if beside is not None and not event.properties:
                        beside |= orjson.loads(line).keys() - Event.model_fields.keys()
                    yield event
                if progress is not None and number % _READ_EVERY == 0:
                    progress(number)
        except DecodeError as error:
            raise BadLog(f"{_named(log)}:{number}: not an event: {error.detail}") from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadLog(f"{log}:{number + 1}: not a whole gzip file: {error}") from None


def note_beside(beside: Collection[str]) -> list[str]:
    """What to say of fields that stand beside an event's properties; nothing where there are none."""
    if not beside:
        return []
    first = min(beside)
    form = f'{{"properties": {{"{first}": …}}}}'
    return [f"{', '.join(sorted(beside)[:10])}: not read beside `properties`, where an event has its fields: {form}"]


def _lines(log: Path, stack: ExitStack) -> Iterable[bytes]:
    if str(log) == "-":
        return sys.stdin.buffer
    if log.suffix == ".gz":
        return stack.enter_context(gzip.open(log, "rb"))
    return stack.enter_context(log.open("rb"))


def _named(log: Path) -> str:
    return "<standard input>" if str(log) == "-" else str(log)


def show_backtest(console: Console, tested: Tested) -> None:
    """Sends by day as a chart, by rule and week as bars, decisions by reason, and what to know about the run."""
    result = tested.result
    _show_days(console, result)
    _show_weeks(console, result)
    _show_decisions(console, result)
    rate = result.events / tested.took_s if tested.took_s else 0
    console.print(
        f"{counted(result.events, 'event')} of {counted(len(result.states), 'user')}, "
        f"{_moment(result.first_ms)[:10]} to {_moment(result.last_ms)[:10]}, in {tested.took_s:.1f} s ({rate:,.0f}/s)"
    )
    for thing, number in sorted(result.counts.items()):
        console.print(f"  {thing}: {number:,}", style="dim")
    for problem in dict.fromkeys(f"{p.trigger} {p.place}: {p.detail}" for p in result.problems):
        console.print(f"  problem: {problem}", style="dim", markup=False, soft_wrap=True)
    for note in result.notes:
        console.print(f"  note: {note}", style="dim", markup=False, soft_wrap=True)


def _show_days(console: Console, result: BacktestResult) -> None:
    if result.first_ms is None or result.last_ms is None or not result.sends_by_day:
        return
    first, last = result.first_ms // 86_400_000, result.last_ms // 86_400_000
    counts = [result.sends_by_day[day] for day in range(first, last + 1)]
    lines, days_each = columns(counts, console.width - LABEL - 2)
    unit = "a day" if days_each == 1 else f"in {days_each} days"
    console.print(f"Sends {unit}, {_day(first)} to {_day(last)}")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    console.print()


def _show_weeks(console: Console, result: BacktestResult) -> None:
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


def _show_decisions(console: Console, result: BacktestResult) -> None:
    decided = Table(title="Decisions", title_justify="left")
    for column in ("rule", "outcome", "reason"):
        decided.add_column(column)
    decided.add_column("count", justify="right")
    for (trigger, outcome, reason), count in sorted(result.decisions.items()):
        decided.add_row(trigger, outcome, reason, f"{count:,}")
    console.print(decided)


def _day(number: int) -> date:
    return _EPOCH + timedelta(days=number)


def _moment(ms: int | None) -> str:
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat()
