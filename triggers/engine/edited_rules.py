"""Edited rules: brings a user's state up to date with the rules that are in force now.

Plans are made again, and occurrences of rules with `on_edit: follow` continue with the newest text. Such an occurrence
keeps its entry. Its place is behind the last send that it passed and that the new text still has. If the way from that
send to where it stands is the same in both texts, it goes on as before. Otherwise it goes that way again by the new
text, with the instants of the past, and a send that would have been due in the past is due now (settled case 12).
"""

from itertools import takewhile
from typing import Any

from triggers.engine import entries, journeys, planning
from triggers.engine.evaluation import Evaluation
from triggers.rules.rule import Branch, Jump, Send, Step, Trigger, Wait, WaitFor, WaitUntil
from triggers.rules.state import Journey, Occurrence

Steps = tuple[Step, ...]


def adopt(evaluation: Evaluation) -> bool:
    """Brings the state up to date if it is of another `plan_version`. Returns whether a plan or an occurrence changed;
    otherwise the state may stay as it was, and be brought up to date with the next event."""
    state = evaluation.state
    if state.plan_version == evaluation.rules.plan_version:
        return False
    followed, before = _follow(evaluation), state.plans
    if state.profiled:
        planning.plan(evaluation)
    else:  # there is nothing to plan before the first profile
        state.plan_version = evaluation.rules.plan_version
    return followed or state.plans != before


def _follow(evaluation: Evaluation) -> bool:
    """Moves the running occurrences that follow to the newest text; returns whether there were any."""
    followed = False
    for occurrence in [*evaluation.state.running]:
        trigger = evaluation.rules.triggers.get(occurrence.trigger)
        if trigger is None or not trigger.follows or trigger.rule_hash == occurrence.rule_hash:
            continue
        old = evaluation.rules.pinned.get((occurrence.rule_hash, occurrence.trigger))
        _move(evaluation, trigger, occurrence, () if old is None else old.steps)
        followed = True
    return followed


def _move(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, old: Steps) -> None:
    journey = occurrence.journey or Journey()
    if not journey.passed:
        _recall(occurrence, journey, old)
    last = _last_passed(journey, trigger.steps)
    is_last = journey.passed[-1:] == ([] if last is None else [last])
    place = _same_place(occurrence, old, trigger.steps, last) if is_last else None
    occurrence.rule_hash, occurrence.variant = trigger.rule_hash, entries.variant_of(evaluation, trigger)
    _forget_others(journey, trigger.steps)
    if place is None:
        place = _behind(trigger.steps, last)
        occurrence.due = occurrence.entered_at if last is None else journey.passed_at
    elif not occurrence.held or _send_id(old, occurrence.step) == _send_id(trigger.steps, place):
        occurrence.step = place
        return
    occurrence.step, occurrence.wake = place, occurrence.due
    occurrence.held, occurrence.since = False, None
    _catch_up(evaluation, trigger, occurrence)


def _recall(occurrence: Occurrence, journey: Journey, old: Steps) -> None:
    """Adds to the journey of an occurrence that began before sends were remembered those that it has surely passed.

    What comes next counts from when the wait that it is in began, which is never too early.
    """
    straight = takewhile(lambda step: not isinstance(step, Branch | WaitFor), old[: occurrence.step])
    if passed := [step.id for step in straight if isinstance(step, Send)]:
        before = old[occurrence.step - 1]
        began = occurrence.due - (before.ms if isinstance(before, Wait) else 0)
        waits_since = None if occurrence.held else occurrence.since
        journey.passed, journey.passed_at = passed, began if waits_since is None else waits_since
        occurrence.journey = journey


def _forget_others(journey: Journey, steps: Steps) -> None:
    """Forgets the events for which no step waits."""
    awaited = {step.name for step in steps if isinstance(step, WaitFor)} | {journey.matched}
    for name in journey.seen.keys() - awaited:
        del journey.seen[name]


def _last_passed(journey: Journey, steps: Steps) -> str | None:
    """The id of the last send that was passed and is one of the steps."""
    ids = {step.id for step in steps if isinstance(step, Send)}
    return next((each for each in reversed(journey.passed) if each in ids), None)


def _behind(steps: Steps, send: str | None) -> int:
    """The number of the step after a send; the first if there is no send or the steps do not have it."""
    found = (number for number, step in enumerate(steps, start=1) if isinstance(step, Send) and step.id == send)
    return next(found, 0)


def _send_id(steps: Steps, number: int) -> str | None:
    step = steps[number] if number < len(steps) else None
    return step.id if isinstance(step, Send) else None


def _same_place(occurrence: Occurrence, old: Steps, new: Steps, last: str | None) -> int | None:
    """Where the occurrence stands in the new steps; None if the way there from the last send is another.

    A branch in which it stands may differ further on.
    """
    start, there = _behind(old, last), _behind(new, last)
    length = occurrence.step - start
    at_send = occurrence.held or (occurrence.since is None and occurrence.wake > occurrence.due)
    known = length + at_send
    way, new_way = _way(old[start : occurrence.step], start, known), _way(new[there : there + length], there, known)
    return there + length if old and way == new_way else None


def _way(steps: Steps, start: int, known: int) -> list[Any]:
    """What the steps say, as far as it is equal for two texts. Beyond `known` steps it does not matter where they
    lead."""

    def target(number: int) -> int:
        return min(number - start, known)

    found: list[Any] = []
    for step in steps:
        match step:
            case Send(id=name):
                found.append(("send", name))
            case Branch(condition=condition, otherwise=otherwise):
                found.append(("if", condition.text, target(otherwise)))
            case WaitFor(name=name, up_to=up_to, then=then):
                found.append(("wait_for", name, *_way((up_to,), 0, 0), target(then)))
            case WaitUntil(moment=moment):
                found.append(("until", moment.text))
            case Jump(target=number):
                found.append(("jump", target(number)))
            case _:
                found.append(step)
    return found


def _catch_up(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence) -> None:
    """Takes the steps that were due in the past, up to the next send, which is then due now."""
    now_ms = evaluation.now_ms
    while occurrence.wake <= now_ms:
        if isinstance(journeys.step_of(trigger, occurrence), Send):
            occurrence.due = occurrence.wake = now_ms
            return
        if not journeys.advance(evaluation, occurrence):
            return
