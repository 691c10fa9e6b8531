"""The life of an occurrence: it begins or restarts, is ended by `unless`, waits, branches, sends."""

from typing import Any

import orjson
from slow_model import sending
from slow_model.crossings import Entry
from slow_model.expressions import Failed, holds, value
from slow_model.past import Ended, Seen
from slow_model.plans import wait_ends
from slow_model.present import Occurrence, Present, agree, is_true, roots
from slow_model.rulebook import Exit, If, Pattern, Rule, Schedule, Send, Steps, Until, WaitFor
from slow_model.sends import Verdict, variant

MAX_RUNNING = 64


def begin(me: Present, entry: Entry) -> Occurrence | None:
    """Begins or restarts at an instant; None if that is too old, already over, or not let in again."""
    rule, event, at_ms = entry
    if me.now_ms - at_ms > rule.max_age_ms:
        return None
    try:
        values = [_plain(value(part, roots(me, event))) for part in rule.key]
    except Failed:
        return None
    key = None if not values else values[0] if len(values) == 1 else values
    key_text = None if not values else orjson.dumps(key).decode()
    if _already_over(me, rule, event):
        return None
    running = next((o for o in me.running if o.trigger == rule.name and key_text and o.key_text == key_text), None)
    if running is not None:
        return _restart(me, rule, running, event, at_ms)
    last_ms = me.past.last_entry(rule.name, key_text) if key_text and rule.reentry_ms != 0 else None
    if last_ms is not None and (rule.reentry_ms == "never" or at_ms < last_ms + rule.reentry_ms):
        return None
    _evict(me, rule)
    name = orjson.dumps([event.id] if key is None else [key, event.id]).decode()
    occurrence = Occurrence(
        trigger=rule.name,
        id=name,
        key=key,
        key_text=key_text,
        began=event.id,
        event=event,
        entered_ms=at_ms,
        variant=variant(rule, me.user_id),
        pinned=rule,
        todo=rule.steps,
        due_ms=at_ms,
        wake_ms=at_ms,
    )
    me.running.append(occurrence)
    me.past.entries.append((rule.name, key_text, at_ms))
    return occurrence


def _plain(part: Any) -> Any:
    """A number of a key as JSON has it: 2.0 is 2."""
    return int(part) if isinstance(part, float) and part.is_integer() else part


def _restart(me: Present, rule: Rule, running: Occurrence, event: Seen, at_ms: int) -> Occurrence | None:
    if rule.overlap == "gather":
        running.gathered.append(event)
        return None
    if rule.overlap == "ignore" or at_ms < running.entered_ms:
        return None
    running.event, running.entered_ms = event, at_ms
    running.pinned, running.todo = rule, rule.steps
    running.due_ms = running.wake_ms = at_ms
    running.held, running.waiting, running.unknown_ms = False, None, None
    running.seen, running.matched, running.gathered, running.passed = {}, None, [], []
    me.past.entries.append((rule.name, running.key_text, at_ms))
    return running


def _already_over(me: Present, rule: Rule, entry: Seen) -> bool:
    """Whether an `unless` event that is not older came before the entry did."""
    return any(
        each.trigger == rule.name
        and each.event.time_ms >= entry.time_ms
        and each.event.id != entry.id
        and agree(each.same, each.event, entry)
        for each in me.past.ended
    )


def _evict(me: Present, rule: Rule) -> None:
    mine = [each for each in me.running if each.trigger == rule.name]
    if len(mine) >= MAX_RUNNING:
        _drop_next(me, rule, mine[0], "evicted")
        end(me, mine[0])


def end_what_it_ends(me: Present, event: Seen) -> None:
    """Ends the occurrences that the event ends, and remembers it for entries that come later and are not newer."""
    for occurrence, patterns in _listening(me, event):
        _end_if_over(me, occurrence, patterns, event)
    for rule in me.book.rules.values():
        for pattern in rule.unless:
            if event.type in pattern.types and is_true(pattern.where, roots(me, event)):
                me.past.ended.append(Ended(rule.name, pattern.same, event))


def meet(me: Present, event: Seen, without_user: bool = False) -> list[Occurrence]:
    """Remembers the event for the waits that it is the first to match, and continues those who wait for it."""
    met = []
    for occurrence in [*me.running]:
        if occurrence.trigger not in me.book.rules or event.time_ms < occurrence.entered_ms:
            continue
        for pattern in occurrence.pinned.awaited:
            wait, since_ms = occurrence.waiting or (None, 0)
            waits_for_it = isinstance(wait, WaitFor) and wait.pattern == pattern
            in_time = waits_for_it and event.time_ms <= occurrence.due_ms
            if (pattern in occurrence.seen and not in_time) or event.type not in pattern.types:
                continue
            if without_user and not pattern.same:
                continue
            given = roots(me, event, None, occurrence)
            if not agree(pattern.same, event, occurrence.event) or not is_true(pattern.where, given):
                continue
            occurrence.seen[pattern] = event
            if in_time:
                occurrence.matched, occurrence.waiting, occurrence.todo = event, None, occurrence.if_met
                occurrence.due_ms = occurrence.wake_ms = max(since_ms, event.time_ms)
                met.append(occurrence)
                if not occurrence.todo:
                    end(me, occurrence)
    return met


def listens(me: Present, event: Seen) -> bool:
    """Whether an occurrence waits for an event without a user, or ends by it."""
    heard = [*_listening(me, event, "unless"), *_listening(me, event, "awaited")]
    return any(pattern.same for _, patterns in heard for pattern in patterns)


def reach(me: Present, event: Seen) -> list[Occurrence]:
    """An event without a user ends the occurrences that listen to it by `same`, and continues those that wait for it.

    One that nobody listens to is not remembered.
    """
    ending, awaiting = (
        [(occurrence, [p for p in patterns if p.same]) for occurrence, patterns in _listening(me, event, which)]
        for which in ("unless", "awaited")
    )
    if not any(patterns for _, patterns in ending + awaiting) or me.past.is_repeated(event.id, me.now_ms):
        return []
    for occurrence, patterns in ending:
        _end_if_over(me, occurrence, patterns, event)
    return meet(me, event, without_user=True)


def _listening(me: Present, event: Seen, which: str = "unless") -> list[tuple[Occurrence, list[Pattern]]]:
    """The occurrences that hear such an event, by these patterns of `unless`, before `where` is asked."""
    found = []
    for occurrence in me.running:
        if occurrence.trigger in me.book.rules and event.time_ms >= occurrence.entered_ms:
            patterns = [
                pattern
                for pattern in getattr(occurrence.pinned, which)
                if event.type in pattern.types and agree(pattern.same, event, occurrence.event)
            ]
            found.append((occurrence, patterns))
    return found


def _end_if_over(me: Present, occurrence: Occurrence, patterns: list[Pattern], event: Seen) -> None:
    for pattern in patterns:
        try:
            over = holds(pattern.where, roots(me, event, None, occurrence))
        except Failed:  # no user gets a mail by mistake
            over = True
            _drop_next(me, me.book.rules[occurrence.trigger], occurrence, "condition_error")
        if over:
            end(me, occurrence)
            return


def _drop_next(me: Present, rule: Rule, occurrence: Occurrence, reason: str) -> None:
    step = _next_send(occurrence.todo)
    if step is not None:
        sending.note(me, rule, occurrence, step, "", Verdict("drop", reason, []), None)


def _next_send(steps: Steps) -> Send | None:
    for step in steps:
        if isinstance(step, If):
            step = _next_send((*step.then, *step.otherwise))  # type: ignore[assignment]
        elif isinstance(step, WaitFor):  # without the event it continues with `else`
            step = _next_send((*step.otherwise, *step.then))  # type: ignore[assignment]
        if isinstance(step, Send):
            return step
    return None


def end(me: Present, occurrence: Occurrence) -> None:
    """Forgets a running occurrence."""
    me.running = [each for each in me.running if each is not occurrence]


def advance(me: Present, occurrence: Occurrence) -> None:
    """One step of an occurrence that is due."""
    rule = me.book.rules.get(occurrence.trigger)
    if rule is None:
        _drop_next(me, occurrence.pinned, occurrence, "withdrawn")
    if rule is None or not occurrence.todo:
        end(me, occurrence)
        return
    step, rest = occurrence.todo[0], occurrence.todo[1:]
    occurrence.waiting = None
    match step:
        case Send():
            if _settles(me, rule, occurrence) or not sending.send(me, rule, occurrence, step):
                return
            occurrence.passed.append(step.id)
            occurrence.passed_ms = occurrence.due_ms
        case Exit():
            rest = ()
        case If():
            taken = is_true(step.condition, roots(me, occurrence.event, occurrence.due_ms, occurrence))
            rest = (*(step.then if taken else step.otherwise), *rest)
        case WaitFor() if _happened_by(occurrence, step, occurrence.due_ms):
            occurrence.matched = occurrence.seen[step.pattern]
            rest = (*step.then, *rest)
        case _:
            wait = step.up_to if isinstance(step, WaitFor) else step
            since_ms = occurrence.due_ms
            try:
                occurrence.due_ms = wait_ends(me, wait, since_ms)
            except Failed:  # the end is unknown: no user gets a mail by mistake
                _drop_next(me, rule, occurrence, "condition_error")
                end(me, occurrence)
                return
            occurrence.waiting = (step, since_ms)
            if isinstance(step, WaitFor) and _happened_by(occurrence, step, occurrence.due_ms):
                event = occurrence.seen[step.pattern]
                occurrence.matched, occurrence.waiting = event, None
                occurrence.due_ms, rest = event.time_ms, (*step.then, *rest)
            elif isinstance(step, WaitFor):
                occurrence.todo, occurrence.if_met = (*step.otherwise, *rest), (*step.then, *rest)
                occurrence.wake_ms = occurrence.due_ms + rule.settle_ms
                return
    occurrence.todo, occurrence.wake_ms = rest, occurrence.due_ms
    if not rest:
        end(me, occurrence)


def _happened_by(occurrence: Occurrence, step: WaitFor, end_ms: int) -> bool:
    """Whether the event that a step waits for was seen, and happened by an instant."""
    event = occurrence.seen.get(step.pattern)
    return event is not None and event.time_ms <= end_ms


def _settles(me: Present, rule: Rule, occurrence: Occurrence) -> bool:
    """Puts a send off by `settle` past its due time, once."""
    if occurrence.held or me.now_ms >= occurrence.due_ms + rule.settle_ms:
        return False
    occurrence.wake_ms = occurrence.due_ms + rule.settle_ms
    return True


def replan(me: Present, *, moved: bool) -> list[Occurrence]:
    """After a new profile: moves waits for a timestamp, and evaluates again what a local clock or a missing profile
    held."""
    again = []
    for occurrence in me.running:
        if occurrence.waiting is not None:
            wait, since_ms = occurrence.waiting
            rule = me.book.rules.get(occurrence.trigger)
            if rule is None:  # it is withdrawn when its wait ends, and follows nothing
                continue
            settle_ms = rule.settle_ms if isinstance(wait, WaitFor) else 0
            if isinstance(wait, WaitFor):
                if occurrence.due_ms < me.now_ms:  # the wait is over and only settles
                    continue
                wait = wait.up_to
            if isinstance(wait, Until) or (moved and isinstance(wait, Schedule) and wait.zone is None):
                occurrence.due_ms = wait_ends(me, wait, since_ms, me.now_ms)
                occurrence.wake_ms = occurrence.due_ms + settle_ms
                again.append(occurrence)
        elif occurrence.held and (moved or occurrence.unknown_ms is not None):
            occurrence.wake_ms = min(occurrence.wake_ms, me.now_ms)
            again.append(occurrence)
    return again
