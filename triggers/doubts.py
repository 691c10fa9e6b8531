"""What is doubtful in rules that load: those that can never send, and caps that can never be reached.

Only what is certain is told. Whatever these checks cannot read, they take for possible.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from triggers.contradictions import contradiction
from triggers.diagnostics import Report, counted, quoted
from triggers.localtime import covers
from triggers.reader import ExpressionUse
from triggers.rule import Cap, Crossing, Pattern, Quiet, Send, Source, Trigger, WindowCrossing
from triggers.ruleset import RuleSet
from triggers.shapes import MS, Calendar, DailyPeriod, Rolling, duration_text
from triggers.yaml_tree import Mapping
from triggers.yaml_tree import Sequence as ListNode

_MONDAY = date(2026, 1, 5)
_WIDER = {
    "key": ("key", "trigger", "purpose", "channel", "all"),
    "trigger": ("trigger", "purpose", "channel", "all"),
    "purpose": ("purpose", "all"),
    "channel": ("channel", "all"),
    "all": ("all",),
}
"""What each scope is part of: a cap over the wider one counts at least as many."""
_LONGEST_MS = {"day": 25 * MS["h"], "week": 169 * MS["h"], "month": 31 * MS["d"] + MS["h"]}
"""The longest that a calendar window can be, over a change of the clock."""
_WITHIN = {"day": ("day", "week", "month"), "week": ("week",), "month": ("month",)}


@dataclass(frozen=True, slots=True)
class Written:
    """One trigger as its file has it."""

    report: Report
    node: Mapping
    uses: Sequence[ExpressionUse]
    trigger: Trigger

    def place(self, key: str, number: int = 0) -> int:
        """Where a key's value stands, or one item of its list; the rule's beginning where it is not written."""
        node = self.node.items.get(key)
        if node is None:
            return self.node.index
        return node.items[number].index if isinstance(node, ListNode) and number < len(node.items) else node.index


def find_doubts(rules: RuleSet, written: Sequence[Written]) -> None:
    """Notes in each rule's report what is doubtful about it, seen together with scores and policies."""
    for each in written:
        obeying = rules.triggers[each.trigger.name]
        for index, why in _contradictions(each):
            each.report.add(index, "never-fires", why)
        for index, why in _never(rules, each, obeying):
            each.report.add(index, "never-fires", f"{_never_sends(each)}: {why}")
        for index, why in _unreachable(each, obeying):
            each.report.add(index, "cap-unreachable", why, "drop it, or make it tighter")


def _never(rules: RuleSet, each: Written, obeying: Trigger) -> Iterator[tuple[int, str]]:
    yield from _out_of_reach(rules, each)
    if obeying.settle_ms >= obeying.expires_ms:
        yield each.place("settle"), f"what settles for {duration_text(obeying.settle_ms)} has expired by then"
    for number, cap in enumerate(obeying.caps):
        if cap.maximum == 0:
            yield each.place("cap", number), "a cap of 0 lets nothing pass"
    for name, percent in obeying.holdouts:
        if percent >= 100:
            yield each.place("holdout"), f"{name} holds everybody out"
    if _always_quiet(obeying.quiet):
        yield each.place("quiet"), "the quiet periods leave no minute of the week"


def _out_of_reach(rules: RuleSet, each: Written) -> Iterator[tuple[int, str]]:
    """Scores that never come to the line; only where nothing else begins the rule."""
    found = []
    for number, source in enumerate(each.trigger.sources):
        if isinstance(source, Crossing) and source.score in rules.scores:
            top = rules.scores[source.score].ceiling
            needed = source.rearm if source.falls else source.line
            if needed > top:
                why = f"`{source.score}` has the ceiling {top:g} and cannot reach {needed:g}"
                found.append((each.place("on", number), why))
    if len(found) == len(each.trigger.sources):
        yield from found


def _contradictions(each: Written) -> Iterator[tuple[int, str]]:
    """Sources that no event matches, and a `when` that never holds, alone or with what began the rule."""
    asked = {id(use.condition): use for use in each.uses}
    when = asked.get(id(each.trigger.when))
    alone = contradiction([when.node.text]) if when else None
    if when and alone:
        yield when.node.place_of(alone.offset), f"{_never_sends(each)}: {alone.why}"
        return
    dead = [_dead_source(source, asked, when) for source in each.trigger.sources]
    whole = _never_sends(each) if all(dead) else "this never leads to a send"
    yield from ((index, f"{whole}: {why}") for index, why in filter(None, dead))


def _dead_source(source: Source, asked: dict[int, ExpressionUse], when: ExpressionUse | None) -> tuple[int, str] | None:
    """Where and why what began the rule so can never lead to a send."""
    pattern = _pattern(source)
    where = asked.get(id(pattern.where)) if pattern else None
    if pattern is None or where is None:
        return None
    fixed = [f'event.type == "{pattern.types[0]}"'] if len(pattern.types) == 1 else []
    found = contradiction([*fixed, where.node.text])
    if found:
        return where.node.place_of(found.offset), found.why
    if when is not None and isinstance(source, Pattern):
        found = contradiction([where.node.text, when.node.text], "event.")
        if found:
            return (where, when)[found.text].node.place_of(found.offset), f"{found.why}, with the `where` of `on`"
    return None


def _never_sends(each: Written) -> str:
    return f"{quoted(each.trigger.name)} never sends"


def _pattern(source: Source) -> Pattern | None:
    if isinstance(source, WindowCrossing):
        return source.metric.pattern
    return source if isinstance(source, Pattern) else None


def _always_quiet(quiet: Sequence[Quiet]) -> bool:
    """Whether no minute of a week is outside the periods; those in zones of their own leave one somewhere."""
    periods = [q.period for q in quiet if isinstance(q.period, DailyPeriod) and q.period.zone is None]
    if not periods:
        return False
    ends = {period.end for period in periods} | {period.start for period in periods if period.days is not None}
    days = [_MONDAY + timedelta(days=n) for n in range(7)]
    walls = [datetime.combine(day, end) for day in days for end in ends]
    walls += [datetime.combine(day, datetime.min.time()) for day in days]
    return all(any(covers(period, wall) for period in periods) for wall in walls)


def _unreachable(each: Written, obeying: Trigger) -> Iterator[tuple[int, str]]:
    own = len(each.trigger.caps)
    for number, cap in enumerate(each.trigger.caps):
        if not isinstance(cap.maximum, int) or cap.maximum == 0:
            continue
        most = _most_sends(each.trigger, cap)
        stricter = next((o for n, o in enumerate(obeying.caps) if n != number and _covers(o, cap, n < number)), None)
        if most is not None and most < cap.maximum:
            yield (
                each.place("cap", number),
                f"a cap of {cap.maximum} per {cap.window} is never reached: "
                f"`reentry` lets at most {counted(most, 'earlier send')} into it",
            )
        elif stricter is not None:
            whose = "another cap" if stricter in obeying.caps[:own] else "a policy's cap"
            yield (
                each.place("cap", number),
                f"a cap of {cap.maximum} per {cap.window} is never reached: "
                f"{whose} of {stricter.maximum} per {stricter.window} by {stricter.scope} is full before",
            )


def _covers(other: Cap, cap: Cap, earlier: bool) -> bool:
    """Whether whenever `cap` is full `other` is full as well, and says the same or more.

    Of two that are alike, the earlier one decides. One that drops says more than one that defers.
    """
    if cap.over == "drop" and other.over == "defer":
        return False
    if not isinstance(other.maximum, int) or not isinstance(cap.maximum, int) or other.scope not in _WIDER[cap.scope]:
        return False
    if (other.maximum, other.window, other.scope, other.over) == (cap.maximum, cap.window, cap.scope, cap.over):
        return earlier
    if other.maximum > cap.maximum or other.maximum == 0:
        return False
    if isinstance(other.window, Rolling) and isinstance(cap.window, Rolling):
        return other.window.ms >= cap.window.ms
    if isinstance(other.window, Rolling) and isinstance(cap.window, Calendar):
        return other.window.ms >= _LONGEST_MS[cap.window.unit]
    if isinstance(other.window, Calendar) and isinstance(cap.window, Calendar):
        return other.window.unit in _WITHIN[cap.window.unit]
    return False


def _most_sends(trigger: Trigger, cap: Cap) -> int | None:
    """How many sends a cap can have counted when one more is asked; None where nothing bounds them.

    With one occurrence at a time and `reentry: D`, entries of a key are D apart. A send may leave by up to `expires`
    later than another, and later steps of a journey later still, so only a rule of one send is judged.
    """
    sends = [step for step in trigger.steps if isinstance(step, Send)]
    if cap.scope not in ("key", "trigger") or not trigger.key or (cap.scope == "trigger" and not _one_key(trigger)):
        return None
    if trigger.reentry_ms is None:
        return len(sends) - 1
    if len(sends) != 1 or not isinstance(cap.window, Rolling) or trigger.reentry_ms == 0:
        return None
    apart_ms = trigger.reentry_ms - trigger.expires_ms
    return math.ceil(cap.window.ms / apart_ms) - 1 if apart_ms > 0 else None


def _one_key(trigger: Trigger) -> bool:
    """Whether a user can have one key only."""
    return all(condition.text.strip() == "user.id" for condition in trigger.key)
