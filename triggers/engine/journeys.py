"""The life of an occurrence: it begins, waits, sends, is held, and ends."""

from typing import Any

from schemas.vocabulary import DecisionOutcome, Reason
from triggers.cel.conditions import Context
from triggers.cel.runtime import EvaluationError
from triggers.engine import sending, waits
from triggers.engine.gates.request import Verdict
from triggers.engine.turn import Exited, Turn, agree
from triggers.rules.assignment import variant
from triggers.rules.rule import Branch, Exit, Jump, Send, Trigger, Wait, WaitSlot, WaitUntil
from triggers.rules.state import Occurrence, StoredEvent, occurrence_id, text_of_key

_MISSING = object()
MAX_RUNNING = 64
MAX_KEYS = 256
MAX_KEY_CHARS = 512


def begin(
    turn: Turn, trigger: Trigger, event: StoredEvent, at: int, context: Context | None = None
) -> Occurrence | None:
    """Begins or restarts an occurrence at an instant; None where the entry is too old, already over, or excluded by
    `reentry`."""
    if turn.now_ms - at > trigger.max_age_ms:
        turn.count("stale")
        return None
    try:
        key = _key(turn, trigger, event, context)
        key_text = text_of_key(key)
        if key_text is not None and len(key_text) > MAX_KEY_CHARS:
            raise EvaluationError(f"a key of more than {MAX_KEY_CHARS} characters")
    except EvaluationError as error:
        turn.problem(trigger.name, "key", error)
        return None
    if _already_over(turn, trigger, event):
        turn.count("ended_before_entry")
        return None
    running = _running_with(turn, trigger, key_text)
    if running is not None:
        return _restart(turn, trigger, running, event, at)
    if not _may_enter(turn, trigger, key_text, at):
        turn.count("reentry")
        return None
    _make_room(turn, trigger)
    name = occurrence_id(key, event.id)
    chosen = _variant(turn, trigger)
    occurrence = Occurrence(
        trigger.name, trigger.rule_hash, name, key, key_text, event.id, event, at, chosen, 0, at, at
    )
    turn.state.running.append(occurrence)
    _remember_entry(turn, trigger, key_text, at)
    return occurrence


def _key(turn: Turn, trigger: Trigger, event: StoredEvent, context: Context | None) -> Any:
    """The value of the trigger's `key`, a list where it has several parts; None without a `key`."""
    if not trigger.key:
        return None
    context = context or turn.context(event, None, turn.now_ms)
    values = [part.value(context) for part in trigger.key]
    if any(isinstance(value, list | dict) or value is None for value in values):
        raise EvaluationError("a key must be a text, a number or a boolean")
    return values[0] if len(values) == 1 else values


def _running_with(turn: Turn, trigger: Trigger, key_text: str | None) -> Occurrence | None:
    if key_text is None:
        return None
    found = (o for o in turn.state.running if o.trigger == trigger.name and o.key_text == key_text)
    return next(found, None)


def _restart(turn: Turn, trigger: Trigger, running: Occurrence, event: StoredEvent, at: int) -> Occurrence | None:
    """Starts over with the new event; an entry that is older than the running one changes nothing."""
    if trigger.overlap == "ignore":
        return None
    if at < running.entered_at:
        turn.count("late")
        return None
    running.event, running.entered_at, running.rule_hash = event, at, trigger.rule_hash
    running.step, running.due, running.wake, running.held, running.since = 0, at, at, False, None
    _remember_entry(turn, trigger, running.key_text, at)
    return running


def _already_over(turn: Turn, trigger: Trigger, event: StoredEvent) -> bool:
    """Whether an `unless` event that is not older than this entry arrived before it (settled case 7)."""
    for each in turn.state.unless_events.get(trigger.name, ()):
        if each.time_ms < event.time_ms or each.event_id == event.id:
            continue
        shared = zip(each.names, each.same, strict=True)
        if all(event.properties.get(name, _MISSING) == value for name, value in shared):
            return True
    return False


def _may_enter(turn: Turn, trigger: Trigger, key_text: str | None, at: int) -> bool:
    if key_text is None or trigger.reentry_ms == 0:
        return True
    last = turn.state.entries.get(trigger.name, {}).get(key_text)
    return last is None or (trigger.reentry_ms is not None and at >= last + trigger.reentry_ms)


def _remember_entry(turn: Turn, trigger: Trigger, key_text: str | None, at: int) -> None:
    if key_text is None or trigger.reentry_ms == 0:
        return
    keys = turn.state.entries.setdefault(trigger.name, {})
    keys.pop(key_text, None)
    keys[key_text] = at
    if len(keys) > MAX_KEYS:
        turn.forgot(trigger.name, "keys")
        del keys[next(iter(keys))]


def _variant(turn: Turn, trigger: Trigger) -> str | None:
    if trigger.experiment is None:
        return None
    return variant(trigger.experiment.salt, turn.state.user_id, dict(trigger.experiment.weights))


def _make_room(turn: Turn, trigger: Trigger) -> None:
    running = [each for each in turn.state.running if each.trigger == trigger.name]
    if len(running) >= MAX_RUNNING:
        oldest = running[0]
        turn.count("evicted")
        turn.forgot(trigger.name, "running occurrences")
        drop_next(turn, trigger, oldest, Reason.EVICTED)
        end(turn, oldest)


def end(turn: Turn, occurrence: Occurrence) -> None:
    """Forgets a running occurrence."""
    turn.state.running = [each for each in turn.state.running if each is not occurrence]


def unless(turn: Turn, event: StoredEvent) -> None:
    """Ends the running occurrences that the event ends; an `unless` that fails drops the send with them."""
    for occurrence in [*turn.state.running]:
        trigger = turn.rule_of(occurrence)
        if trigger is None or event.time_ms < occurrence.entered_at:
            continue
        for pattern in trigger.unless:
            if event.type not in pattern.types or not agree(pattern, occurrence.event, event):
                continue
            context = turn.context(event, occurrence, turn.now_ms)
            try:
                if pattern.where is not None and not pattern.where.holds(context):
                    continue
                turn.effects.exits.append(Exited(trigger.name, occurrence.id, event.type, turn.now_ms))
            except EvaluationError as error:
                turn.problem(trigger.name, "unless", error)
                drop_next(turn, trigger, occurrence, Reason.CONDITION_ERROR)
            end(turn, occurrence)
            break


def drop_next(turn: Turn, trigger: Trigger, occurrence: Occurrence, reason: Reason) -> None:
    """Records that the next send is dropped."""
    following = (step for step in trigger.steps[occurrence.step :] if isinstance(step, Send))
    send = next(following, None)
    if send is not None:
        verdict = Verdict(DecisionOutcome.DROP, reason)
        sending.note(turn, trigger, occurrence, send, verdict)


def advance(turn: Turn, occurrence: Occurrence, paused: frozenset[str]) -> None:
    """Executes one step of an occurrence that is due: decides a send, sets a wait, takes a branch, or ends it."""
    trigger = turn.rule_of(occurrence)
    if trigger is None:
        _withdraw(turn, occurrence)
        return
    step = trigger.steps[occurrence.step] if occurrence.step < len(trigger.steps) else Exit()
    if not occurrence.held:
        occurrence.since = None
    match step:
        case Wait() | WaitSlot() | WaitUntil():
            if not waits.begin(turn, trigger, occurrence, step):
                _give_up(turn, trigger, occurrence)
                return
            occurrence.step += 1
        case Branch():
            context = turn.context(occurrence.event, occurrence, occurrence.due)
            taken = turn.holds(trigger.name, "if", step.condition, context)
            occurrence.step = occurrence.step + 1 if taken else step.otherwise
        case Jump(target=target):
            occurrence.step = target
        case Send():
            if _settles(turn, trigger, occurrence) or not sending.send(turn, trigger, occurrence, step, paused):
                return
            occurrence.step += 1
        case Exit():
            end(turn, occurrence)
            return
    occurrence.wake = occurrence.due
    occurrence.step = _landed(trigger, occurrence.step)
    if occurrence.step >= len(trigger.steps):
        end(turn, occurrence)


def follow(turn: Turn, *, moved: bool) -> list[Occurrence]:
    """After a changed profile: sets waits anew, and wakes what is held for a profile or, where the zone `moved`, by a
    clock; what may now be due."""
    touched = []
    for occurrence in [*turn.state.running]:
        if occurrence.held:
            if moved or occurrence.since is not None:
                occurrence.wake = min(occurrence.wake, turn.now_ms)
                touched.append(occurrence)
        elif occurrence.since is not None and (trigger := turn.rule_of(occurrence)) is not None:
            if waits.follow(turn, trigger, occurrence, moved=moved):
                touched.append(occurrence)
            else:
                _give_up(turn, trigger, occurrence)
    return touched


def _withdraw(turn: Turn, occurrence: Occurrence) -> None:
    """Ends an occurrence whose rule was removed. What it would have sent only its text knows, where that is at hand."""
    old = turn.rules.pinned.get((occurrence.rule_hash, occurrence.trigger))
    if old is None:
        turn.count("withdrawn")
    else:
        drop_next(turn, old, occurrence, Reason.WITHDRAWN)
    end(turn, occurrence)


def _give_up(turn: Turn, trigger: Trigger, occurrence: Occurrence) -> None:
    """Ends an occurrence that cannot know how long to wait: nobody is mailed by mistake."""
    drop_next(turn, trigger, occurrence, Reason.CONDITION_ERROR)
    end(turn, occurrence)


def _landed(trigger: Trigger, step: int) -> int:
    """Where a step leads: what has only jumps to its end before it is over now, and no entry may restart it."""
    while step < len(trigger.steps) and isinstance(jump := trigger.steps[step], Jump):
        step = jump.target
    return step


def _settles(turn: Turn, trigger: Trigger, occurrence: Occurrence) -> bool:
    """Puts a send off by `settle` past its due time, once."""
    if occurrence.held or turn.now_ms >= occurrence.due + trigger.settle_ms:
        return False
    occurrence.wake = occurrence.due + trigger.settle_ms
    return True
