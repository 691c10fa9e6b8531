"""Sequences: events in the listed order within a time, each used once.

Events that no sequence has used are kept as links. An event that comes may be any of them, the last, or an earlier
one that comes late; where several choices would complete the sequence, the earliest events are taken, by (time, id).
Events of one time count in the listed order, however they came (settled case 7).
"""

import orjson

from triggers.cel_runtime import EvaluationError
from triggers.clockwork import SequenceRule
from triggers.rule import Sequence
from triggers.ruleset import Route
from triggers.state import Link, StoredEvent
from triggers.turn import Turn

MAX_LINKS = 64
MAX_LAST = 16
"""Of the events kept, how many may end the sequence: those are kept whole."""
MAX_SAME_CHARS = 512


def feed(turn: Turn, route: Route, event: StoredEvent) -> list[tuple[SequenceRule, StoredEvent]]:
    """Takes in an event; returns the sequences that it completes, each with its last event."""
    completed = []
    context = turn.context(event, None, turn.now_ms)
    for rule in route.sequences:
        numbers = [
            number
            for number, pattern in enumerate(rule.sequence.patterns)
            if event.type in pattern.types and turn.holds(rule.trigger.name, "on", pattern.where, context)
        ]
        link = _link(turn, rule, event, numbers) if numbers else None
        if link is not None and (last := _take_in(turn, rule, link)) is not None:
            completed.append((rule, last))
    return completed


def _link(turn: Turn, rule: SequenceRule, event: StoredEvent, numbers: list[int]) -> Link | None:
    """The event as a link, or None where it lacks a field of `same`, which then equals nothing."""
    names = rule.sequence.same
    if any(name not in event.properties for name in names):
        return None
    same = [event.properties[name] for name in names]
    if len(orjson.dumps(same)) > MAX_SAME_CHARS:
        turn.problem(rule.trigger.name, "same", EvaluationError(f"values of more than {MAX_SAME_CHARS} characters"))
        return None
    may_end = numbers[-1] == len(rule.sequence.patterns) - 1
    return Link(event.time_ms, event.id, numbers, same, event if may_end else None)


def _take_in(turn: Turn, rule: SequenceRule, link: Link) -> StoredEvent | None:
    """Keeps the link, or uses it at once with those that it completes; then the last event of them."""
    state, since = turn.state, turn.now_ms - rule.sequence.within_ms - rule.trigger.max_age_ms
    for gone in state.links.keys() - turn.rules.sequences.keys():
        del state.links[gone]
    links = [each for each in state.links.get(rule.id, ()) if each.time_ms > since and each.id != link.id]
    chain = earliest_chain([*links, link], link, rule.sequence)
    if chain is None:
        links.append(link)
    links = _bounded([each for each in links if chain is None or not any(each is used for used in chain)])
    if links:
        state.links[rule.id] = links
    else:
        state.links.pop(rule.id, None)
    return None if chain is None else chain[-1].event


def _bounded(links: list[Link]) -> list[Link]:
    """The newest of the links: 64, of which 16 may end the sequence."""
    newest = sorted(links, key=_order)[-MAX_LINKS:]
    ends = [each for each in newest if each.event is not None]
    too_many = ends[: len(ends) - MAX_LAST] if len(ends) > MAX_LAST else []
    return [each for each in newest if not any(each is old for old in too_many)]


def _order(link: Link) -> tuple[int, str]:
    return link.time_ms, link.id


def earliest_chain(links: list[Link], newest: Link, sequence: Sequence) -> list[Link] | None:
    """One link for each pattern, in order and within the time; of several choices the earliest, by (time, id).

    Without `newest` no choice is complete, or it would have been used. Every pattern is tried with every link that
    is not earlier, except what was found hopeless: the same pattern, from the same time on, with the same links of
    that time used up; and of links alike but for their id the first only.
    """
    links = sorted((each for each in links if each.same == newest.same), key=_order)
    total = len(sequence.patterns)
    if any(all(number not in each.numbers for each in links) for number in range(total)):
        return None
    for link in links:
        if 0 in link.numbers:
            within = [each for each in links if 0 <= each.time_ms - link.time_ms < sequence.within_ms]
            chain = _extended([within.index(link)], within, total, set())
            if chain is not None:
                return [within[index] for index in chain]
    return None


def _extended(
    chain: list[int], links: list[Link], total: int, hopeless: set[tuple[int, int, frozenset[int]]]
) -> list[int] | None:
    """The chain with what completes it, or None."""
    if len(chain) == total:
        return chain
    now = links[chain[-1]].time_ms
    used = frozenset(index for index in chain if links[index].time_ms == now)
    if (len(chain), now, used) in hopeless:
        return None
    tried: set[tuple[int, tuple[int, ...]]] = set()
    for index, link in enumerate(links):
        kind = link.time_ms, tuple(link.numbers)
        if link.time_ms < now or index in chain or len(chain) not in link.numbers or kind in tried:
            continue
        tried.add(kind)
        found = _extended([*chain, index], links, total, hopeless)
        if found is not None:
            return found
    hopeless.add((len(chain), now, used))
    return None
