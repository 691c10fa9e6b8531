"""What an edit does to what runs: a rule with `on_edit: follow` takes its occurrences along."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from slow_model.journeys import advance
from slow_model.present import Occurrence, Present
from slow_model.rulebook import Exit, If, Pause, Rule, Schedule, Send, Step, Steps, Until, Wait, WaitFor
from slow_model.sends import variant


class Word(NamedTuple):
    """One word of a text of steps: what it says, the step that begins with it, and what there is to do from that step
    on, and behind it."""

    says: Any
    step: Step | None = None
    todo: Steps = ()
    rest: Steps = ()
    if_met: Steps = ()


def follow(me: Present) -> None:
    """Takes the occurrences of rules that say so along to the newest text."""
    for occurrence in [*me.running]:
        rule = me.book.rules.get(occurrence.trigger)
        if rule is not None and rule.follows and rule.hash != occurrence.pinned.hash:
            _take_along(me, occurrence, rule)


def _take_along(me: Present, occurrence: Occurrence, rule: Rule) -> None:
    old, new = list(_words(occurrence.pinned.steps)), list(_words(rule.steps))
    stands = _stands(occurrence, old)
    occurrence.pinned, occurrence.variant = rule, variant(rule, me.user_id)
    known = [each for each in occurrence.passed if _behind(new, each)]
    last = known[-1] if known else None
    if occurrence.passed[-1:] == known[-1:]:
        way = old[_behind(old, last) : stands]
        there = _behind(new, last)
        if [word.says for word in way] == [word.says for word in new[there : there + len(way)]]:
            if _stays(occurrence, new, there + len(way)):
                return
            occurrence.todo = _todo(new, there + len(way))
            _catch_up(me, occurrence)
            return
    occurrence.todo = _todo(new, _behind(new, last))
    occurrence.due_ms = occurrence.entered_ms if last is None else occurrence.passed_ms
    _catch_up(me, occurrence)


def _words(steps: Steps, rest: Steps = ()) -> Iterator[Word]:
    """The text of steps word for word; of a wait for an event what follows without it comes first."""
    for number, step in enumerate(steps):
        behind = (*steps[number + 1 :], *rest)
        todo = (step, *behind)
        match step:
            case If():
                yield Word(("if", step.condition), step, todo)
                yield from _words(step.then, behind)
                yield Word("else")
                yield from _words(step.otherwise, behind)
                yield Word("end")
            case WaitFor():
                says = ("wait_for", step.pattern, _said(step.up_to))
                yield Word(says, step, todo, (*step.otherwise, *behind), (*step.then, *behind))
                yield from _words(step.otherwise, behind)
                yield Word("then")
                yield from _words(step.then, behind)
                yield Word("end")
            case Send():
                yield Word(("send", step.id), step, todo)
            case Exit():
                yield Word("exit", step, todo)
            case _:
                yield Word(_said(step), step, todo, behind)


def _said(wait: Wait) -> Any:
    match wait:
        case Pause():
            return wait.ms
        case Until():
            return wait.text
        case Schedule():
            return (wait.every, wait.at, wait.day, wait.zone)


def _stands(occurrence: Occurrence, words: list[Word]) -> int:
    """Before which word it stands: behind the wait that it is in, or before the step that comes next."""
    if occurrence.waiting is not None:
        return next(n for n, word in enumerate(words, start=1) if word.step is occurrence.waiting[0])
    return next(n for n, word in enumerate(words) if word.step is occurrence.todo[0])


def _behind(words: list[Word], send: str | None) -> int:
    """The number of the word behind a send; 0 if it is not there."""
    return next((n for n, word in enumerate(words, start=1) if word.says == ("send", send)), 0)


def _stays(occurrence: Occurrence, words: list[Word], place: int) -> bool:
    """Goes on from an equal place as before. False if a send was held that is not there any more."""
    if occurrence.waiting is not None:
        word = words[place - 1]
        assert word.step is not None
        assert not isinstance(word.step, Send | If | Exit)
        occurrence.waiting = (word.step, occurrence.waiting[1])
        occurrence.todo, occurrence.if_met = word.rest, word.if_met
        return True
    todo = _todo(words, place)
    if occurrence.held and _sent_by(todo) != _sent_by(occurrence.todo):
        return False
    occurrence.todo = todo
    return True


def _sent_by(todo: Steps) -> str | None:
    return todo[0].id if todo and isinstance(todo[0], Send) else None


def _todo(words: list[Word], place: int) -> Steps:
    """What there is to do from a word on. The second part of a step is skipped where the first one ends."""
    depth = 0
    for word in words[place:]:
        if word.says in ("else", "then") and depth == 0:
            depth += 1
        elif word.says == "end":
            depth = max(0, depth - 1)
        elif depth == 0 and word.step is not None:
            return word.todo
        elif isinstance(word.step, If | WaitFor):
            depth += 1
    return ()


def _catch_up(me: Present, occurrence: Occurrence) -> None:
    """Goes through what was due in the past, up to a send, which is due now."""
    occurrence.wake_ms = occurrence.due_ms
    occurrence.held, occurrence.waiting, occurrence.unknown_ms = False, None, None
    while occurrence.wake_ms <= me.now_ms and any(occurrence is each for each in me.running):
        if occurrence.todo and isinstance(occurrence.todo[0], Send):
            occurrence.due_ms = occurrence.wake_ms = me.now_ms
            return
        advance(me, occurrence)
