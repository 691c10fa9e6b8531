"""Shows a user's timeline: each record with what came of it, each decision gate by gate, and each score as a plot."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from cli.lookback.past_rules import PastRules
from cli.lookback.user_timeline import TimelineEntry, UserTimeline
from cli.privacy.state_view import state_view
from cli.privacy.topic_records import content
from cli.rules.chart import LABEL, curve
from cli.rules.decision_words import outcome_words
from schemas.decisions import Decision
from schemas.topics import BROADCASTS, DECISIONS, EVENTS, OUTCOMES, PROFILES
from schemas.wording import counted, one_line
from streams.decisions.update import InputRecord
from triggers.engine.gates.stored import time_words
from triggers.engine.gates.table import gate_words
from triggers.measures.decay import Curve, ScoreState
from triggers.rules.state import Occurrence

MAX_ENTRIES = 200
"""The most entries that are shown to people, the newest."""
_LONGEST = 160
"""Characters of an event's properties that are shown."""
_WIDEST_PLOT = 100


def around(timeline: UserTimeline, last: int, trigger: str | None = None) -> list[TimelineEntry]:
    """The entries from the beginning of the occurrences of the last decisions on; all if there is no decision."""
    decided = [
        (number, each)
        for number, entry in enumerate(timeline.entries)
        for each in entry.decisions
        if trigger in (None, each.trigger)
    ][-last:]
    begun = {(each.trigger, each.occurrence) for _, each in decided}
    first = next(
        (
            number
            for number, entry in enumerate(timeline.entries)
            if any((each.trigger, each.id) in begun for each in entry.began)
        ),
        len(timeline.entries),
    )
    return (
        timeline.entries[min([first, *(number for number, _ in decided)], default=0) :] if decided else timeline.entries
    )


def show(console: Console, timeline: UserTimeline, rules: PastRules, entries: Sequence[TimelineEntry]) -> None:
    """Prints entries, plots, the comparison with what was recorded, and what makes it less than exact."""
    if not timeline.entries:
        console.print(f"no record of {timeline.user_id} is kept that could be applied again", markup=False)
    if len(entries) > MAX_ENTRIES:
        console.print(f"… {len(entries) - MAX_ENTRIES:,} earlier entries; --json has all", style="dim")
    for entry in entries[-MAX_ENTRIES:]:
        title, *more = entry_lines(entry)
        console.print(title, style="dim" if entry.is_empty else "bold", markup=False, soft_wrap=True)
        for line in more:
            console.print(f"    {line}", markup=False, soft_wrap=True)
    begin_ms = entries[0].at_ms if entries else timeline.end_ms
    for name, steps in sorted(timeline.curves.items()):
        for line in plot_lines(name, steps, rules.curve(name), begin_ms, timeline.end_ms, console.width):
            console.print(line, markup=False, soft_wrap=True)
    _show_compared(console, timeline)


def entry_lines(entry: TimelineEntry) -> Iterator[str]:
    """What happened, and then what came of it."""
    more = "; nothing changes" if entry.is_empty else ""
    yield f"{_moment(entry.at_ms)}  {one_line(_record_words(entry.record))}{more}"
    for text in entry.problems:
        yield f"problem   {one_line(text)}"
    for step in entry.scores:
        yield f"score     {step.name} {step.before:.4g} → {step.after:.4g}"
    for name in entry.entered:
        yield f"segment   {name} entered"
    for name in entry.left:
        yield f"segment   {name} left"
    for each in entry.began:
        yield f"begins    {each.trigger}, next at {_moment(each.wake)}"
    for decision in entry.decisions:
        yield from _decision_lines(decision)
    for each in entry.ended:
        yield f"ends      {each.trigger}"


def _decision_lines(decision: Decision) -> Iterator[str]:
    yield f"decision  {outcome_words(decision)}"
    for answer in decision.gates:
        yield f"  {'✓' if answer.passed else '✗'} {answer.gate:<12}{gate_words(answer)}"
    if decision.command_id:
        yield f"  command {decision.command_id}"


def _record_words(record: InputRecord | None) -> str:
    if record is None:
        return "timer"
    if record.value is None:
        return "profile removed"
    found = content(record.value)
    if not isinstance(found, dict):
        return f"{record.place}: not readable"
    match record.topic:
        case PROFILES.name:
            return f"profile, zone {found.get('zone') or 'none'}"
        case OUTCOMES.name:
            return f"outcome   {found.get('kind')} of {found.get('trigger') or 'a command'} ({found.get('command_id')})"
        case EVENTS.name | BROADCASTS.name:
            return f"event     {found.get('type')} {found.get('id')}{_properties(found.get('properties'))}"
    return f"{record.topic} {_cut(str(found))}"


def _properties(found: Any) -> str:
    if not isinstance(found, dict) or not found:
        return ""
    return ": " + _cut(", ".join(f"{name} {value}" for name, value in found.items()))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def plot_lines(
    name: str, steps: Sequence[tuple[int, ScoreState]], fades: Curve | None, begin_ms: int, end_ms: int, width: int
) -> Iterator[str]:
    """A score over time as a chart: its highest value in each column. Nothing of a score that no rules declare."""
    if fades is None or end_ms <= begin_ms:
        return
    values = sampled(steps, fades, begin_ms, end_ms, max(20, min(width, _WIDEST_PLOT) - LABEL - 2))
    if not any(values):
        return
    yield ""
    yield f"score {name}: {fades.read(steps[-1][1], end_ms):.4g} at the end"
    yield from curve(values)
    begin, end = _moment(begin_ms), _moment(end_ms)
    yield f"{'':{LABEL}}  {begin}{end:>{max(len(end) + 2, len(values) - len(begin))}}"


def sampled(
    steps: Sequence[tuple[int, ScoreState]], fades: Curve, begin_ms: int, end_ms: int, columns: int
) -> list[float]:
    """The highest value of a score in each of so many equal times: between its additions it only falls."""
    values, at, held = [], 0, None
    for column in range(columns):
        start, until = (begin_ms + (end_ms - begin_ms) * number // columns for number in (column, column + 1))
        while at < len(steps) and steps[at][0] <= start:
            held, at = steps[at][1], at + 1
        highest = 0.0 if held is None else fades.read(held, start)
        while at < len(steps) and steps[at][0] <= until:
            held, at = steps[at][1], at + 1
            highest = max(highest, fades.read(held, steps[at - 1][0]))
        values.append(highest)
    return values


def _show_compared(console: Console, timeline: UserTimeline) -> None:
    console.print()
    for text in timeline.differs:
        console.print(text, style="red", markup=False, soft_wrap=True)
    if not timeline.differs and timeline.compared:
        console.print(f"recomputed: the same as {counted(timeline.compared, 'recorded decision')}", style="dim")
    elif not timeline.differs:
        console.print(f"the topic `{DECISIONS.name}` has no decision of this time to compare with", style="dim")
    for note in timeline.notes:
        console.print(f"note: {note}", style="dim", markup=False, soft_wrap=True)


def as_json(timeline: UserTimeline, rules: PastRules) -> dict[str, Any]:
    """The whole timeline as JSON values, with the state at its end."""
    end = datetime.fromtimestamp(timeline.end_ms / 1000, UTC)
    scores = {} if not rules.manifests else rules.rules(rules.newest).rules.scores
    state = None if timeline.state is None else state_view(timeline.user_id, timeline.state, scores, end)
    return {
        "user_id": timeline.user_id,
        "until": end.isoformat(),
        "entries": [_entry_json(entry) for entry in timeline.entries],
        "state": state,
        "compared": timeline.compared,
        "differs": timeline.differs,
        "notes": timeline.notes,
    }


def _entry_json(entry: TimelineEntry) -> dict[str, Any]:
    record = entry.record
    place = (
        None if record is None else {"place": record.place, "record": content(record.value) if record.value else None}
    )
    return {
        "at": datetime.fromtimestamp(entry.at_ms / 1000, UTC).isoformat(),
        "cause": place,
        "problems": entry.problems,
        "scores": [{"score": each.name, "before": each.before, "after": each.after} for each in entry.scores],
        "entered": entry.entered,
        "left": entry.left,
        "began": [_occurrence(each) for each in entry.began],
        "ended": [_occurrence(each) for each in entry.ended],
        "decisions": [each.model_dump(mode="json", exclude_none=True) for each in entry.decisions],
    }


def _occurrence(each: Occurrence) -> dict[str, str]:
    return {"trigger": each.trigger, "occurrence": each.id, "next": _moment(each.wake)}


def _moment(ms: int) -> str:
    return time_words(datetime.fromtimestamp(ms / 1000, UTC))
