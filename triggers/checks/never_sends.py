"""Rules that load and can never send.

Only certain cases are reported. What these checks cannot read counts as possible.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

from schemas.numbers import number_text
from schemas.wording import quoted
from triggers.checks.contradictions import contradiction
from triggers.language.documents import TriggerDocument
from triggers.language.expressions import ExpressionUse
from triggers.measures.local_time import covers
from triggers.measures.shapes import DailyPeriod, duration_text
from triggers.rules.rule import Crossing, Pattern, Quiet, Source, Trigger, WindowCrossing
from triggers.rules.ruleset import RuleSet

_MONDAY = date(2026, 1, 5)


def check_never_sends(rules: RuleSet, written: Sequence[TriggerDocument]) -> None:
    """Warns of each trigger that can never send, given the scores and policies of the set."""
    for each in written:
        obeying = rules.triggers[each.trigger.name]
        for index, why in _contradictions(each):
            each.report.add(index, "never-fires", why)
        for index, why in _never(rules, each, obeying):
            each.report.add(index, "never-fires", f"{_never_sends(each)}: {why}")


def _never(rules: RuleSet, each: TriggerDocument, obeying: Trigger) -> Iterator[tuple[int, str]]:
    yield from _out_of_reach(rules, each)
    if obeying.settle_ms >= obeying.expires_ms:
        yield each.place("settle"), f"a send expires before `settle` of {duration_text(obeying.settle_ms)} is over"
    if obeying.webhooks:  # no other gate keeps them back
        return
    for number, cap in enumerate(obeying.caps):
        if cap.maximum == 0:
            yield each.place("cap", number), "a cap of 0 lets nothing pass"
    for name, percent in obeying.holdouts:
        if percent >= 100:
            yield each.place("holdout"), f"{name} holds everybody out"
    if _always_quiet(obeying.quiet):
        yield each.place("quiet"), "the quiet periods cover the whole week"


def _out_of_reach(rules: RuleSet, each: TriggerDocument) -> Iterator[tuple[int, str]]:
    """Scores that never reach the line, if nothing else begins the rule."""
    found = []
    for number, source in enumerate(each.trigger.sources):
        if isinstance(source, Crossing) and source.score in rules.scores:
            top = rules.scores[source.score].ceiling
            needed = source.rearm if source.falls else source.line
            if needed > top:
                why = f"`{source.score}` has the ceiling {number_text(top)} and cannot reach {number_text(needed)}"
                found.append((each.place("on", number), why))
    if len(found) == len(each.trigger.sources):
        yield from found


def _contradictions(each: TriggerDocument) -> Iterator[tuple[int, str]]:
    """Sources that no event matches, and a `when` that never holds, alone or together with the rule's source."""
    uses_by_id = {id(use.condition): use for use in each.uses}
    when = uses_by_id.get(id(each.trigger.when))
    alone = contradiction([when.node.text]) if when else None
    if when and alone:
        yield when.node.place_of(alone.offset), f"{_never_sends(each)}: {alone.why}"
        return
    dead = [_dead_source(source, uses_by_id, when) for source in each.trigger.sources]
    whole = _never_sends(each) if all(dead) else "this never leads to a send"
    yield from ((index, f"{whole}: {why}") for index, why in filter(None, dead))


def _dead_source(
    source: Source, uses_by_id: dict[int, ExpressionUse], when: ExpressionUse | None
) -> tuple[int, str] | None:
    """The place and the reason if a source can never lead to a send."""
    pattern = _pattern(source)
    where = uses_by_id.get(id(pattern.where)) if pattern else None
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


def _never_sends(each: TriggerDocument) -> str:
    return f"{quoted(each.trigger.name)} never sends"


def _pattern(source: Source) -> Pattern | None:
    if isinstance(source, WindowCrossing):
        return source.metric.pattern
    return source if isinstance(source, Pattern) else None


def _always_quiet(quiet: Sequence[Quiet]) -> bool:
    """Whether the periods cover every minute of a week. Periods with their own zone do not count."""
    periods = [q.period for q in quiet if isinstance(q.period, DailyPeriod) and q.period.zone is None]
    if not periods:
        return False
    ends = {period.end for period in periods} | {period.start for period in periods if period.days is not None}
    days = [_MONDAY + timedelta(days=n) for n in range(7)]
    walls = [datetime.combine(day, end) for day in days for end in ends]
    walls += [datetime.combine(day, datetime.min.time()) for day in days]
    return all(any(covers(period, wall) for period in periods) for wall in walls)
