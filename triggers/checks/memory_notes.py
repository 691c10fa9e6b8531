"""Notes on bounds on memory that a busy user reaches: "Bounds on memory" in docs/triggers.md.

The frequency of events is not known here. A note is made if five a day, every day, exceed what the engine keeps for
the time that the rule names, or if the rule compares with a number beyond the bound.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.wording import quoted
from triggers.cel.syntax import parse
from triggers.cel.tree import Binary, Expr, Literal, Name, Select, walk
from triggers.engine.entries import MAX_KEYS, MAX_RUNNING
from triggers.engine.levels import MAX_GROUPS
from triggers.engine.sending import MAX_GOALS
from triggers.engine.sequences import MAX_LINKS
from triggers.engine.unless_events import MAX_UNLESS_EVENTS
from triggers.language.diagnostics import Diagnostic, Report
from triggers.language.document_reader import DocumentReader
from triggers.language.documents import TriggerDocument
from triggers.language.yaml_tree import MappingNode, ScalarNode
from triggers.measures.decay import MAX_PARTS, Exponential, Linear, Step
from triggers.measures.shapes import MS, Calendar, Rolling, Schedule, Window, duration_text
from triggers.measures.windows import CELLS, EXACT, MAX_VALUES
from triggers.rules.rule import Branch, Jump, Pattern, Score, Trigger, Wait, WaitFor, WaitSlot, WindowCrossing
from triggers.rules.rule import Sequence as SequenceOf
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import MAX_GATHERED

CODE = "memory-bound"
BUSY_PER_DAY = 5
"""Events a day of one user, every day, for which a rule should be exact."""
_CALENDAR_MS = {"day": MS["d"], "week": MS["w"], "month": 31 * MS["d"]}
_ENTERS_AGAIN = "the key that entered longest ago may enter again"
_KNOWN = f"; if users do less, allow this by a comment `# ebbtide: allow {CODE}`"
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


@dataclass(frozen=True, slots=True)
class _Kept:
    """A bound on what is kept for one user, and what happens beyond it."""

    place: int
    most: int
    what: str
    beyond: str
    hint: str

    def within(self, span_ms: int | None, per_day: float = BUSY_PER_DAY) -> Iterator[tuple[int, str, str]]:
        """A note if this many a day exceed the bound within the time; None has no end."""
        if span_ms is not None and span_ms * per_day <= self.most * MS["d"]:
            return
        each = "" if span_ms is None else f" in {duration_text(span_ms)} ({self.most * MS['d'] / span_ms:.2g} a day)"
        message = f"{self.most:,} {self.what} are kept for a user; with more{each}, {self.beyond}"
        yield self.place, message, self.hint + _KNOWN


def memory_notes(
    rules: RuleSet,
    documents: Sequence[tuple[DocumentReader, MappingNode, Trigger | None]],
    written: Sequence[TriggerDocument],
) -> Iterator[Diagnostic]:
    """A note for each bound that a document can reach, in a set without problems."""
    for each in written:
        for place, message, hint in _of_trigger(each, rules.triggers[each.trigger.name]):
            yield _note(each.report, place, each.trigger.name, message, hint)
    for document, node, trigger in documents:
        kind, name = next(iter(node.items.items()))
        named = name.text if isinstance(name, ScalarNode) else ""
        found = [*_of_definition(rules, kind, named, node), *_of_comparisons(rules, document)]
        for place, message, hint in found:
            yield _note(document.report, place, trigger.name if trigger is not None else named, message, hint)


def _note(report: Report, place: int, name: str, message: str, hint: str) -> Diagnostic:
    return report.at(place, CODE, f"{quoted(name)}: {message}", hint)


# triggers ------------------------------------------------------------------------------------------------------------


def _of_trigger(each: TriggerDocument, obeying: Trigger) -> Iterator[tuple[int, str, str]]:
    trigger = each.trigger
    for number, source in enumerate(trigger.sources):
        if isinstance(source, SequenceOf):
            yield from _sequence(each.place("on", number)).within(source.within_ms)
        elif isinstance(source, WindowCrossing):
            yield from _of_crossing(each.place("on", number), source)
    if not _one_key(trigger):
        yield from _running(each.place("key")).within(_longest_wait(trigger), _entries_per_day(trigger))
        if trigger.key and trigger.reentry_ms != 0:
            yield from _keys(each.place("reentry")).within(trigger.reentry_ms, _entries_per_day(trigger))
    if trigger.overlap == "gather":
        yield from _gathered(each.place("overlap")).within(_longest_wait(trigger), _entries_per_day(trigger))
    for number, pattern in enumerate(trigger.unless):
        if pattern.same:
            yield from _endings(each.place("unless", number)).within(trigger.max_age_ms)
    if obeying.goal is not None:
        yield from _goals(each.place("goal")).within(obeying.goal.within_ms, _sends_per_day(obeying))


def _sequence(place: int) -> _Kept:
    beyond = "the oldest no longer begins or ends the sequence"
    hint = "write a shorter `within`, or a `where` that leaves out events which do not matter"
    return _Kept(place, MAX_LINKS, "unused events of a sequence", beyond, hint)


def _of_crossing(place: int, crossing: WindowCrossing) -> Iterator[tuple[int, str, str]]:
    window = crossing.metric.window
    if crossing.measure == "sum" and window is not None:
        yield from _events(place, window).within(_length(window))
    if crossing.metric.pattern.same:
        beyond = "the group whose last event is the oldest starts again"
        hint = "write a shorter `within`, or name in `same` a field with fewer values"
        yield from _Kept(place, MAX_GROUPS, "groups of `same`", beyond, hint).within(_length(window))


def _running(place: int) -> _Kept:
    beyond = "the oldest ends, and its send is dropped with `evicted`"
    hint = "write shorter waits, or a `key` of which a user has fewer, as in key: user.id"
    return _Kept(place, MAX_RUNNING, "running occurrences", beyond, hint)


def _keys(place: int) -> _Kept:
    hint = "write a shorter `reentry`, or a `key` of which a user has fewer, as in key: user.id"
    return _Kept(place, MAX_KEYS, "keys that `reentry` asks for", _ENTERS_AGAIN, hint)


def _gathered(place: int) -> _Kept:
    beyond = "the oldest is no longer in `occurrence.events`"
    hint = "write shorter waits, or a `where` that leaves out events which do not matter"
    return _Kept(place, MAX_GATHERED, "entries of an occurrence", beyond, hint)


def _endings(place: int) -> _Kept:
    beyond = "an entry that comes late may begin although it was ended"
    hint = "write a shorter `max_age`, or a `where` that leaves out events which do not matter"
    return _Kept(place, MAX_UNLESS_EVENTS, "`unless` events with different values of `same`", beyond, hint)


def _goals(place: int) -> _Kept:
    beyond = "the oldest reaches no goal"
    return _Kept(
        place, MAX_GOALS, "sends that wait for their goal", beyond, "write a shorter `within`, or a tighter cap"
    )


def _one_key(trigger: Trigger) -> bool:
    return bool(trigger.key) and all(part.text.strip() == "user.id" for part in trigger.key)


def _entries_per_day(trigger: Trigger) -> float:
    """How often a busy user enters. Scores, segments and dates do not begin rules this often."""
    if any(isinstance(source, Pattern | SequenceOf) for source in trigger.sources):
        return BUSY_PER_DAY
    slots = [len(s.weekdays) / 7 if s.weekdays else 1 / 31 for s in trigger.sources if isinstance(s, Schedule)]
    return sum(slots)


def _longest_wait(trigger: Trigger) -> int:
    """The longest path through the steps, in ms. Waits for a timestamp are left out: their length is not known."""
    longest = [0] * (len(trigger.steps) + 1)
    for number, step in reversed([*enumerate(trigger.steps)]):
        following = longest[number + 1]
        match step:
            case Branch(otherwise=second):
                longest[number] = max(following, longest[second])
            case WaitFor(up_to=up_to, then=second):
                longest[number] = _wait(up_to) + max(following, longest[second])
            case Jump(target=target):
                longest[number] = longest[target]
            case _:
                longest[number] = _wait(step) + following
    return longest[0]


def _wait(step: object) -> int:
    match step:
        case Wait(ms=ms):
            return ms
        case WaitSlot(schedule=slot):
            return MS["w"] // len(slot.weekdays) if slot.weekdays else 31 * MS["d"]
    return 0


def _sends_per_day(trigger: Trigger) -> float:
    """How many sends a day the caps allow; 0 without a cap."""
    caps = [cap for cap in trigger.caps if cap.scope != "key"]
    return min((_per_day(cap.maximum, cap.window) for cap in caps if isinstance(cap.maximum, int)), default=0)


def _per_day(maximum: int, window: Window) -> float:
    return maximum * MS["d"] / (_length(window) or MS["d"])


# scores, metrics and comparisons with them ----------------------------------------------------------------------------


def _of_definition(rules: RuleSet, kind: str, name: str, node: MappingNode) -> Iterator[tuple[int, str, str]]:
    if kind == "score":
        yield from _of_score(node.items["decay"].index, rules.scores[name])
    elif kind == "metric" and (window := rules.metrics[name].metric.window) is not None:
        yield from _events(node.items["within"].index, window).within(_length(window))


def _of_score(place: int, score: Score) -> Iterator[tuple[int, str, str]]:
    if not isinstance(score.curve, Exponential):
        beyond = "the two oldest count as one of the newer's time"
        hint = "write a shorter `lifetime`, or `curve: exponential`, which is exact for any number"
        lifetime = score.curve.lifetime_ms if isinstance(score.curve, Linear | Step) else None
        yield from _Kept(place, MAX_PARTS, "additions", beyond, hint).within(lifetime)


def _events(place: int, window: Window) -> _Kept:
    beyond = f"older ones leave the window together, late by at most {_late(window)}"
    return _Kept(place, EXACT, "single events", beyond, "write a shorter window, or `within: ever`, which is exact")


def _late(window: Window) -> str:
    return duration_text(-(-(_length(window) or 0) // CELLS // MS["m"]) * MS["m"])


def _length(window: Window | None) -> int | None:
    if isinstance(window, Calendar):
        return _CALENDAR_MS[window.unit]
    return window.ms if isinstance(window, Rolling) else None


def _of_comparisons(rules: RuleSet, document: DocumentReader) -> Iterator[tuple[int, str, str]]:
    """Metrics that are compared with a number above their bound."""
    for use in document.expressions.uses:
        for node in walk(parse(use.condition.text)):
            if isinstance(node, Binary) and node.operator in _COMPARISONS:
                for metric, number in ((node.left, node.right), (node.right, node.left)):
                    if (note := _too_large(rules, metric, number)) is not None:
                        yield use.node.place_of(metric.offset), *note


def _too_large(rules: RuleSet, metric: Expr, number: Expr) -> tuple[str, str] | None:
    match metric, number:
        case (
            Select(operand=Select(operand=Name(name="metric"), field=name), field=field),
            Literal(value=int() | float() as value),
        ) if value > EXACT and name in rules.metrics:
            window = rules.metrics[name].metric.window
            read = f"`metric.{name}.{field}` is compared with {value:,}"
            if field == "distinct":
                return f"{read}, and is never more than {MAX_VALUES:,}", f"compare with at most {MAX_VALUES:,}"
            if field == "count" and window is not None:
                beyond = (
                    f"beyond {EXACT:,} the oldest events leave the window together, late by at most {_late(window)}"
                )
                hint = f"compare with at most {EXACT:,}, or write `within: ever`, which is exact"
                return f"{read}; {beyond}", hint + _KNOWN
    return None
