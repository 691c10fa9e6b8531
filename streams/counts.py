"""What the worker counts of its decisions, by the vocabulary's names: observed with the checkpoint that holds them."""

from collections import Counter

from triggers.turn import Effects

DECIDED, UNDECIDED, PUT_ASIDE = "decided", "undecided", "put_aside"
"""Decisions by outcome and reason; what left no decision, by what it was; dead letters by cause."""

Counts = Counter[tuple[str, ...]]


def count(effects: Effects, counts: Counts) -> None:
    """Adds what one call of the core did."""
    for record in effects.records:
        counts[DECIDED, record.outcome, record.reason or ""] += 1
    for what, times in effects.counts.items():
        counts[UNDECIDED, what] += times
