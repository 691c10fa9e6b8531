"""What the worker counts of its decisions, by the vocabulary's names: observed with the checkpoint that holds them."""

from collections import Counter

from triggers.engine.turn import Effects

DECIDED, UNDECIDED, DEAD_LETTERED, FAILED = "decided", "undecided", "dead_lettered", "failed"
FORGOTTEN = "forgotten"
"""Decisions by outcome and reason; what left no decision, by what it was; dead letters by cause; expressions that
failed, by rule, place and cause; what a bound on memory made a rule forget, by rule and what it was."""

Counts = Counter[tuple[str, ...]]


def count(effects: Effects, counts: Counts) -> None:
    """Adds what one call of the core did."""
    for record in effects.records:
        counts[DECIDED, record.outcome, record.reason or ""] += 1
    for what, times in effects.counts.items():
        counts[UNDECIDED, what] += times
    for problem in effects.problems:
        counts[FAILED, problem.trigger, problem.place, problem.cause] += 1
    for (rule, what), times in effects.bounds.items():
        counts[FORGOTTEN, rule, what] += times
