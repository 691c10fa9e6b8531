"""The life of an occurrence: it begins, waits, sends, is held, and ends."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from schemas.commands import SendCommand, command_id
from schemas.decisions import Decision
from schemas.vocabulary import DecisionOutcome, Reason
from triggers import gates
from triggers.assignment import variant
from triggers.caps import reserve
from triggers.cel_runtime import EvaluationError, as_time
from triggers.localtime import zone_named
from triggers.rule import Branch, Exit, Jump, Send, Trigger, Wait
from triggers.state import Occurrence, OpenGoal, StoredEvent
from triggers.turn import Exited, Turn, agree, same_fields

MAX_RUNNING = 64
MAX_KEYS = 256
MAX_COMMAND_IDS = 128
MAX_GOALS = 64
_RECORDED = (DecisionOutcome.SEND, DecisionOutcome.SHADOW, DecisionOutcome.HELD_OUT)


def begin(turn: Turn, trigger: Trigger, event: StoredEvent, at: int) -> Occurrence | None:
    """Begins or restarts an occurrence at an instant; None where it is too old, already over, or not let in again."""
    if turn.now_ms - at > trigger.max_age_ms:
        turn.effects.counts["stale"] += 1
        return None
    try:
        key = _key(turn, trigger, event)
    except EvaluationError as error:
        turn.problem(trigger.name, "key", error)
        return None
    key_text = None if key is None else orjson.dumps(key).decode()
    if _already_over(turn, trigger, event):
        turn.effects.counts["ended_before_entry"] += 1
        return None
    running = _running_with(turn, trigger, key_text)
    if running is not None:
        return _restart(turn, trigger, running, event, at)
    if not _may_enter(turn, trigger, key_text, at):
        turn.effects.counts["reentry"] += 1
        return None
    _make_room(turn, trigger)
    name = orjson.dumps([key, event.id] if key is not None else [event.id]).decode()
    chosen = _variant(turn, trigger)
    occurrence = Occurrence(
        trigger.name, trigger.rule_hash, name, key, key_text, event.id, event, at, chosen, 0, at, at
    )
    turn.state.running.append(occurrence)
    _remember_entry(turn, trigger, key_text, at)
    return occurrence


def _key(turn: Turn, trigger: Trigger, event: StoredEvent) -> Any:
    """What the occurrence is about: one value, or a list of several; None where each entry is its own."""
    if not trigger.key:
        return None
    context = turn.context(event, None, turn.now_ms)
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
    """Starts over with the new event; an entry older than the running one came late and changes nothing."""
    if trigger.overlap == "ignore":
        return None
    if at < running.entered_at:
        turn.effects.counts["late"] += 1
        return None
    running.event, running.entered_at, running.rule_hash = event, at, trigger.rule_hash
    running.step, running.due, running.wake, running.held = 0, at, at, False
    _remember_entry(turn, trigger, running.key_text, at)
    return running


def _already_over(turn: Turn, trigger: Trigger, event: StoredEvent) -> bool:
    """Whether an `unless` event came first that is not older than this entry (settled case 7)."""
    for ending in turn.state.endings.get(trigger.name, ()):
        if ending.time_ms < event.time_ms or ending.event_id == event.id or ending.pattern >= len(trigger.unless):
            continue
        pattern = trigger.unless[ending.pattern]
        seen = StoredEvent("", "", 0, "", dict(zip(pattern.same, ending.same, strict=False)))
        if agree(pattern, event, seen):
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
        del keys[next(iter(keys))]


def _variant(turn: Turn, trigger: Trigger) -> str | None:
    if trigger.experiment is None:
        return None
    return variant(trigger.experiment.salt, turn.state.user_id, dict(trigger.experiment.weights))


def _make_room(turn: Turn, trigger: Trigger) -> None:
    running = [each for each in turn.state.running if each.trigger == trigger.name]
    if len(running) >= MAX_RUNNING:
        oldest = running[0]
        turn.effects.counts["evicted"] += 1
        drop_next(turn, trigger, oldest, Reason.EVICTED)
        end(turn, oldest)


def end(turn: Turn, occurrence: Occurrence) -> None:
    """Forgets a running occurrence."""
    turn.state.running = [each for each in turn.state.running if each is not occurrence]


def unless(turn: Turn, event: StoredEvent) -> None:
    """Ends the running occurrences that the event ends; an `unless` that fails drops the send with them."""
    for occurrence in [*turn.state.running]:
        trigger = turn.rules.triggers.get(occurrence.trigger)
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
    """Records that the send which would have come next does not."""
    following = (step for step in trigger.steps[occurrence.step :] if isinstance(step, Send))
    send = next(following, None)
    if send is not None:
        verdict = gates.Verdict(DecisionOutcome.DROP, reason)
        decide(turn, trigger, occurrence, send, verdict, None)


def advance(turn: Turn, occurrence: Occurrence, paused: frozenset[str]) -> None:
    """Goes on by one step of a woken occurrence: a send is asked, a wait is set, a branch taken, or it ends."""
    trigger = turn.rules.triggers.get(occurrence.trigger)
    if trigger is None:
        turn.effects.counts["withdrawn"] += 1
        end(turn, occurrence)
        return
    step = trigger.steps[occurrence.step] if occurrence.step < len(trigger.steps) else Exit()
    match step:
        case Wait(ms=ms):
            occurrence.due += ms
            occurrence.step += 1
        case Branch():
            context = turn.context(occurrence.event, occurrence, occurrence.due)
            taken = turn.holds(trigger.name, "if", step.condition, context)
            occurrence.step = occurrence.step + 1 if taken else step.otherwise
        case Jump(target=target):
            occurrence.step = target
        case Send():
            if _settles(turn, trigger, occurrence) or not _send(turn, trigger, occurrence, step, paused):
                return
            occurrence.step += 1
        case Exit():
            end(turn, occurrence)
            return
    occurrence.wake = occurrence.due
    if occurrence.step >= len(trigger.steps):
        end(turn, occurrence)


def _settles(turn: Turn, trigger: Trigger, occurrence: Occurrence) -> bool:
    """Puts a send off by `settle` past its due time, once."""
    if occurrence.held or turn.now_ms >= occurrence.due + trigger.settle_ms:
        return False
    occurrence.wake = occurrence.due + trigger.settle_ms
    return True


def _send(turn: Turn, trigger: Trigger, occurrence: Occurrence, send: Send, paused: frozenset[str]) -> bool:
    """Asks the gates about a send; whether the journey goes on (held sends stay)."""
    moment = max(occurrence.due, turn.now_ms - (0 if occurrence.held else trigger.settle_ms))
    name = command_id(trigger.name, turn.state.user_id, occurrence.id, send.id)
    verdict = gates.ask(gates.Asking(turn, trigger, occurrence, send, name, moment, paused))
    data: dict[str, Any] = {}
    to: str | None = None
    if verdict.outcome in _RECORDED:
        data, to = _content(turn, trigger, occurrence, send, moment, verdict)
    command: SendCommand | None = None
    if verdict.outcome is DecisionOutcome.SEND:
        command = _command(turn, trigger, occurrence, send, Filled(name, data, to), verdict)
    decide(turn, trigger, occurrence, send, verdict, command)
    if verdict.outcome is DecisionOutcome.DEFER:
        assert verdict.until is not None
        occurrence.wake, occurrence.held = verdict.until, True
        return False
    if verdict.outcome in _RECORDED:
        _count(turn, trigger, occurrence, send, verdict, name)
    occurrence.due, occurrence.held = moment, False
    return True


@dataclass(slots=True)
class Filled:
    """A command's id and what its rule fills it with."""

    id: str
    data: dict[str, Any]
    to: str | None


def _content(
    turn: Turn, trigger: Trigger, occurrence: Occurrence, send: Send, moment: int, verdict: gates.Verdict
) -> tuple[dict[str, Any], str | None]:
    """The send's data and address; where one fails the verdict becomes a drop with its path."""
    context = turn.context(occurrence.event, occurrence, moment)
    data: dict[str, Any] = {}
    place = "to"
    try:
        to = send.to.string(context) if send.to is not None else None
        for field, expression in send.data:
            place = f"data.{field}"
            data[field] = expression.value(context)
    except EvaluationError as error:
        _invalid(turn, trigger, verdict, place, error)
        return {}, None
    return data, to


def _invalid(turn: Turn, trigger: Trigger, verdict: gates.Verdict, place: str, error: EvaluationError) -> None:
    turn.problem(trigger.name, place, error)
    verdict.outcome, verdict.reason = DecisionOutcome.DROP, Reason.INVALID_DATA
    verdict.inputs["path"] = place


def _command(
    turn: Turn, trigger: Trigger, occurrence: Occurrence, send: Send, filled: Filled, verdict: gates.Verdict
) -> SendCommand | None:
    """The command, checked by its model: an address that an event brought in may be none."""
    try:
        command = SendCommand(
            id=filled.id,
            trigger=trigger.name,
            rule_hash=trigger.rule_hash,
            occurrence=occurrence.id,
            step=send.id,
            user_id=turn.state.user_id,
            channel=send.channel,
            to=filled.to,
            template=send.template,
            template_hash=send.template_hash,
            variant=occurrence.variant,
            purpose=trigger.purpose,
            data=filled.data,
            decided_at=as_time(turn.now_ms),
            expires_at=as_time(occurrence.due + trigger.expires_ms),
            priority=trigger.priority,
        )
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        _invalid(turn, trigger, verdict, place, EvaluationError(f"not valid as `{place}` of a command"))
        return None
    turn.effects.commands.append(command)
    return command


def _count(turn: Turn, trigger: Trigger, occurrence: Occurrence, send: Send, verdict: gates.Verdict, name: str) -> None:
    """Reserves in the caps, remembers the command's id, and opens the goal."""
    state = turn.state
    reserve(turn, trigger, occurrence, send, verdict.outcome.value, name)
    if verdict.outcome is DecisionOutcome.SEND:
        ids = state.sent.setdefault(trigger.name, [])
        ids.append(name)
        del ids[:-MAX_COMMAND_IDS]
    if trigger.goal is not None and verdict.outcome is not DecisionOutcome.SHADOW:
        sent = name if verdict.outcome is DecisionOutcome.SEND else None
        state.goals = [goal for goal in state.goals if goal.until >= turn.now_ms][-MAX_GOALS + 1 :]
        state.goals.append(
            OpenGoal(
                trigger.name,
                trigger.rule_hash,
                occurrence.id,
                send.id,
                sent,
                turn.now_ms,
                turn.now_ms + trigger.goal.within_ms,
                same_fields(trigger.goal.pattern, occurrence.event),
            )
        )


def decide(
    turn: Turn,
    trigger: Trigger,
    occurrence: Occurrence,
    send: Send,
    verdict: gates.Verdict,
    command: SendCommand | None,
) -> None:
    """Records a decision."""
    inputs: dict[str, Any] = {"due": as_time(occurrence.due).isoformat(), "zone": turn.zone().key, **verdict.inputs}
    given = turn.state.user.zone
    if given is None or zone_named(given) is None:
        inputs["zone_given"] = given or ""
    if occurrence.variant is not None:
        inputs["variant"] = occurrence.variant
    began = [occurrence.began] if occurrence.began != occurrence.event.id else []
    turn.effects.decisions.append(
        Decision(
            id=decision_id(trigger.name, turn, occurrence.id, send.id, verdict.outcome, verdict.reason),
            trigger=trigger.name,
            rule_hash=trigger.rule_hash,
            user_id=turn.state.user_id,
            occurrence=occurrence.id,
            step=send.id,
            outcome=verdict.outcome,
            reason=verdict.reason,
            gates=verdict.answers,
            event_ids=[*began, occurrence.event.id],
            inputs=inputs,
            decided_at=as_time(turn.now_ms),
            command_id=command.id if command is not None else None,
            repeated=0,
        )
    )


def decision_id(
    trigger: str, turn: Turn, occurrence: str, step: str, outcome: DecisionOutcome, what: str | None
) -> str:
    """A decision's id: blake2b-128 of what it decides, about whom, and when. A replay gives it again."""
    parts = [trigger, turn.state.user_id, occurrence, step, outcome, what, turn.now_ms]
    return hashlib.blake2b(orjson.dumps(parts), digest_size=16).hexdigest()
