"""Whether the order in which events arrive can change the result of a rule, and through which keys."""

from collections.abc import Iterator

from triggers.cel.conditions import Condition
from triggers.measures.shapes import duration_text
from triggers.rules.rule import Branch, Pattern, Trigger, Wait, WaitFor


def order_reasons(trigger: Trigger) -> list[str]:
    """The keys through which the order of arrival can change the result; empty if it cannot."""
    return list(_reasons(trigger))


def order_note(trigger: Trigger) -> str:
    """One sentence about the order of arrival; empty if it cannot change the result."""
    reasons = order_reasons(trigger)
    if not reasons:
        return ""
    by = " and ".join(filter(None, [", ".join(reasons[:-1]), reasons[-1]]))
    if trigger.settle_ms:
        settled = duration_text(trigger.settle_ms)
        same = f"any order of arrival within {settled} gives the same answer{_but_scores(trigger)}"
        return f"{same}; beyond, it can change by {by}"
    return f"an event that arrives late can change the answer, by {by}"


def _but_scores(trigger: Trigger) -> str:
    """A score counts what has arrived, also if it happened after the instant as of which the rule decides."""
    conditions = [trigger.when, *(step.condition for step in trigger.steps if isinstance(step, Branch))]
    names = sorted({name for each in conditions if each is not None for name in each.code.scores})
    if not names:
        return ""
    read = ", ".join(f"score.{name}" for name in names)
    return f", except that {read} counts every event that arrived before the decision"


def order_hint(trigger: Trigger) -> str:
    """What to write so that late events still count."""
    late = "settle: 1m decides a minute later, and counts what arrives late within it"
    known = "without it, nothing is wrong: a comment `# ebbtide: allow order-sensitive` in the rule says so"
    return "" if trigger.settle_ms else f"{late}; {known}"


def _reasons(trigger: Trigger) -> Iterator[str]:
    waits = any(isinstance(step, Wait) for step in trigger.steps)
    if trigger.unless:
        yield "`unless`"
    if any(isinstance(step, WaitFor) for step in trigger.steps):
        yield "`wait_for`"
    if trigger.when is not None and _reads_state(trigger.when):
        yield "`when`"
    if any(not isinstance(source, Pattern) for source in trigger.sources):
        yield "what `on` counts"
    elif any(isinstance(s, Pattern) and s.where is not None and _reads_state(s.where) for s in trigger.sources):
        yield "`where` of `on`"
    if trigger.key and trigger.overlap == "restart" and waits:
        yield "which entry is the newest"
    if trigger.overlap == "gather":
        yield "which entries are gathered"
    if any(isinstance(step, Branch) and _reads_state(step.condition) for step in trigger.steps):
        yield "`if`"
    if trigger.caps:
        yield "which send a cap lets pass"


def _reads_state(condition: Condition) -> bool:
    """Whether an expression reads what events change."""
    return bool({"score", "metric", "segment"} & condition.code.roots)
