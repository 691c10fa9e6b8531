"""The events that occurrences keep beside their entries, bounded in bytes over all occurrences of a user.

A state has a bound in bytes of its own, beyond which whatever would grow it is put aside, whole. So entries that are
gathered, and copies of one event for each occurrence that waited for it, must not fill it.
"""

from collections.abc import Iterator
from functools import lru_cache

from msgspec import structs

from triggers.cel.conditions import Condition
from triggers.cel.syntax import parse
from triggers.cel.tree import Name, Select, walk
from triggers.engine.evaluation import Evaluation
from triggers.rules.events import StoredEvent
from triggers.rules.rule import Branch, Send, Step, Trigger, WaitFor, WaitUntil
from triggers.rules.state import Occurrence, event_size

MAX_GATHERED_BYTES = 64_000
MAX_REMEMBERED_BYTES = 64_000
"""Bytes of the events that all running occurrences of a user gathered, and of those that they waited for."""
SMALL = 1_000
"""Bytes of an event that is remembered as it is. Of a larger one, a rule remembers what it reads."""


def gather(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, event: StoredEvent) -> None:
    """Adds an entry to a running occurrence. Beyond the bound on entries its oldest is forgotten; beyond the bound on
    bytes, the oldest of the occurrence with most bytes."""
    if occurrence.gather(event):
        evaluation.forgot(trigger.name, "gathered events")
    sizes = {
        number: sum(map(event_size, each.journey.gathered))
        for number, each in enumerate(evaluation.state.running)
        if each.journey is not None and each.journey.gathered
    }
    over = sum(sizes.values()) - MAX_GATHERED_BYTES
    while over > 0:
        number = max(sizes, key=sizes.__getitem__)
        largest = evaluation.state.running[number]
        freed = largest.forget_oldest()
        sizes[number] -= freed
        over -= freed
        evaluation.forgot(largest.trigger, "gathered events")


def remember(trigger: Trigger, occurrence: Occurrence, name: str, event: StoredEvent) -> None:
    """Remembers an event for a `wait_for` step. `make_room` must follow, once the occurrence has moved."""
    occurrence.remember(name, event if event_size(event) <= SMALL else _read_by(trigger, event))


def make_room(evaluation: Evaluation) -> None:
    """Forgets properties of remembered events beyond the bound: first those that no step ahead reads, then those of the
    oldest occurrences."""
    kept = [(each, step) for each in evaluation.state.running if each.journey is not None for step in each.journey.seen]
    over = sum(each.seen_size(step) for each, step in kept) - MAX_REMEMBERED_BYTES
    if over <= 0:
        return
    needed = {(id(each), step) for each, step in kept if _is_needed(evaluation, each, step)}
    for each, step in sorted(kept, key=lambda of: (id(of[0]), of[1]) in needed):
        freed = each.forget_properties(step)
        over -= freed
        if freed and (id(each), step) in needed:
            evaluation.forgot(each.trigger, "remembered events")
        if over <= 0:
            return


def _is_needed(evaluation: Evaluation, occurrence: Occurrence, name: str) -> bool:
    """Whether `occurrence.matched` is, or may become, the event that is remembered for the step."""
    trigger = evaluation.rules.followed(occurrence.trigger, occurrence.rule_hash)
    assert occurrence.journey is not None
    if trigger is None or name == occurrence.journey.matched:
        return trigger is not None
    ahead = trigger.steps[max(occurrence.step - 1, 0) :]
    return any(isinstance(step, WaitFor) and step.name == name for step in ahead)


def _read_by(trigger: Trigger, event: StoredEvent) -> StoredEvent:
    """The event with the properties that the rule reads of `occurrence.matched`."""
    read = frozenset[str]().union(*(_fields_of_matched(each.text) for each in _conditions(trigger)))
    if "properties" in read:
        return event
    return structs.replace(event, properties={name: each for name, each in event.properties.items() if name in read})


@lru_cache(maxsize=4096)
def _fields_of_matched(text: str) -> frozenset[str]:
    """The fields of `occurrence.matched` that an expression reads, or whose presence it asks."""
    return frozenset(
        node.field
        for node in walk(parse(text))
        if isinstance(node, Select)
        and isinstance(matched := node.operand, Select)
        and matched.field == "matched"
        and isinstance(matched.operand, Name)
        and matched.operand.name == "occurrence"
    )


def _conditions(trigger: Trigger) -> Iterator[Condition]:
    """The expressions that may read `occurrence`."""
    if trigger.when is not None:
        yield trigger.when
    yield from (pattern.where for pattern in trigger.unless if pattern.where is not None)
    yield from (cap.maximum for cap in trigger.caps if isinstance(cap.maximum, Condition))
    for step in trigger.steps:
        yield from _conditions_of_step(step)


def _conditions_of_step(step: Step) -> Iterator[Condition]:
    match step:
        case Send(to=to, data=data):
            yield from (value for _, value in data)
            if to is not None:
                yield to
        case Branch(condition=condition):
            yield condition
        case WaitUntil(moment=moment):
            yield moment
        case WaitFor(pattern=pattern, up_to=up_to):
            if pattern.where is not None:
                yield pattern.where
            yield from _conditions_of_step(up_to)
