"""Sequences: events in the listed order within a time, each used once.

Events that no sequence has used are stored as links. A new event may be any of the sequence: the last, or an earlier
one that arrives late. If several choices would complete the sequence, the earliest events are used, by (time, id).
Events with one time count in the listed order, in whatever order they arrived (settled case 7).
"""

from collections.abc import Iterator
from itertools import count

import orjson

from triggers.cel.conditions import Context
from triggers.cel.runtime import EvaluationError
from triggers.engine.evaluation import Evaluation
from triggers.rules.events import StoredEvent
from triggers.rules.routes import Route
from triggers.rules.rule import Sequence
from triggers.rules.sources import SequenceRule
from triggers.rules.state import Link

MAX_LINKS = 64
MAX_LAST = 16
"""How many of the stored events may end the sequence. Those are stored whole."""
MAX_SAME_CHARS = 512
MAX_ATTEMPTS = 2_000


def feed(
    evaluation: Evaluation, route: Route, event: StoredEvent, context: Context
) -> list[tuple[SequenceRule, StoredEvent]]:
    """Adds an event; returns the sequences that it completes, each with its last event."""
    completed = []
    for rule in route.sequences:
        numbers = [
            number
            for number, pattern in enumerate(rule.sequence.patterns)
            if event.type in pattern.types and evaluation.holds(rule.trigger.name, "on", pattern.where, context)
        ]
        link = _link(evaluation, rule, event, numbers) if numbers else None
        if link is not None and (last := _add(evaluation, rule, link)) is not None:
            completed.append((rule, last))
    return completed


def _link(evaluation: Evaluation, rule: SequenceRule, event: StoredEvent, numbers: list[int]) -> Link | None:
    """The event as a link; None if it lacks a `same` field, because a missing field equals nothing."""
    names = rule.sequence.same
    if any(name not in event.properties for name in names):
        return None
    same = [event.properties[name] for name in names]
    if len(orjson.dumps(same)) > MAX_SAME_CHARS:
        evaluation.problem(
            rule.trigger.name, "same", EvaluationError(f"values of more than {MAX_SAME_CHARS} characters")
        )
        return None
    may_end = numbers[-1] == len(rule.sequence.patterns) - 1
    return Link(event.time_ms, event.id, numbers, same, event if may_end else None)


def _add(evaluation: Evaluation, rule: SequenceRule, link: Link) -> StoredEvent | None:
    """Stores the link, or uses it with the links that it completes and returns the last event."""
    state, since = evaluation.state, evaluation.now_ms - rule.sequence.within_ms - rule.trigger.max_age_ms
    for gone in state.links.keys() - evaluation.rules.sequences.keys():
        del state.links[gone]
    links = [each for each in state.links.get(rule.id, ()) if each.time_ms > since and each.id != link.id]
    chain = earliest_chain([*links, link], link, rule.sequence)
    if chain is None:
        links.append(link)
    unused = [each for each in links if chain is None or not any(each is used for used in chain)]
    links = _bounded(unused)
    for _ in range(len(unused) - len(links)):
        evaluation.forgot(rule.trigger.name, "sequence events")
    if links:
        state.links[rule.id] = links
    else:
        state.links.pop(rule.id, None)
    return None if chain is None else chain[-1].event


def _bounded(links: list[Link]) -> list[Link]:
    """The newest links: 64, of which 16 may end the sequence."""
    newest = sorted(links, key=_order)[-MAX_LINKS:]
    ends = [each for each in newest if each.event is not None]
    too_many = ends[: len(ends) - MAX_LAST] if len(ends) > MAX_LAST else []
    return [each for each in newest if not any(each is old for old in too_many)]


def _order(link: Link) -> tuple[int, str]:
    return link.time_ms, link.id


def earliest_chain(links: list[Link], newest: Link, sequence: Sequence) -> list[Link] | None:
    """One link for each pattern, in order and within the time; of several choices the earliest, by (time, id).

    Without `newest` no choice is complete, because it would have been used. Searches a link for each pattern in order,
    and backtracks if none is left. Backtracking happens only among links of one time that match several patterns. After
    2,000 attempts the sequence counts as incomplete.
    """
    links = sorted((each for each in links if each.same == newest.same), key=_order)
    attempts = count()
    for first in links:
        if 0 in first.numbers:
            within = [each for each in links if 0 <= each.time_ms - first.time_ms < sequence.within_ms]
            latest = _latest(within, len(sequence.patterns))
            chain = _extended([first], within, latest, attempts) if latest is not None else None
            if chain is not None:
                return chain
    return None


def _latest(links: list[Link], total: int) -> list[int] | None:
    """For each pattern, the latest time of a link that leaves room for the patterns after it; None if there is none."""
    latest: list[int] = []
    for number in reversed(range(total)):
        times = [each.time_ms for each in links if number in each.numbers]
        room = max((time_ms for time_ms in times if not latest or time_ms <= latest[-1]), default=None)
        if room is None:
            return None
        latest.append(room)
    return latest[::-1]


def _extended(chain: list[Link], links: list[Link], latest: list[int], attempts: Iterator[int]) -> list[Link] | None:
    """The chain with the links that complete it; None if there are none."""
    number = len(chain)
    if number == len(latest):
        return chain
    tried: set[tuple[int, tuple[int, ...]]] = set()
    for link in links:
        alike = link.time_ms, tuple(link.numbers)
        fits = number in link.numbers and chain[-1].time_ms <= link.time_ms <= latest[number]
        if not fits or alike in tried or any(link is each for each in chain):
            continue
        tried.add(alike)
        found = _extended([*chain, link], links, latest, attempts) if next(attempts) < MAX_ATTEMPTS else None
        if found is not None:
            return found
    return None
