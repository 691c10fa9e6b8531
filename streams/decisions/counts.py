"""The worker's counts of decisions, by the vocabulary's names. They become metrics when their checkpoint commits."""

from collections import Counter

from triggers.engine.evaluation import Effects

DECIDED, UNDECIDED, DEAD_LETTERED, FAILED = "decided", "undecided", "dead_lettered", "failed"
FORGOTTEN = "forgotten"
"""Decisions by outcome and reason; what made no decision, by kind; dead letters by cause; failed expressions by rule,
place and cause; what a rule forgot because of a limit on memory, by rule and kind."""

Counts = Counter[tuple[str, ...]]


def count(effects: Effects, counts: Counts) -> None:
    """Adds the effects of one call of the core."""
    for record in effects.records:
        counts[DECIDED, record.outcome, record.reason or ""] += 1
    for what, times in effects.counts.items():
        counts[UNDECIDED, what] += times
    for problem in effects.problems:
        counts[FAILED, problem.trigger, problem.place, problem.cause] += 1
    for (rule, what), times in effects.bounds.items():
        counts[FORGOTTEN, rule, what] += times
