"""One send: ask the gates, fill the message, record and count what came of it."""

from typing import Any

from schemas.addresses import plain_address
from schemas.bounds import problem_of
from schemas.commands import command_id
from schemas.vocabulary import DecisionOutcome, Reason
from triggers.cel.runtime import EvaluationError
from triggers.engine.caps import reserve
from triggers.engine.gates.dedupe import recorded_key
from triggers.engine.gates.request import GateRequest, Verdict
from triggers.engine.gates.table import ask
from triggers.engine.records import DecisionRecord, Message
from triggers.engine.turn import Turn, same_fields
from triggers.rules.rule import Send, Trigger
from triggers.rules.state import Occurrence, OpenGoal

MAX_COMMAND_IDS = 128
MAX_GOALS = 64
_RECORDED = frozenset({DecisionOutcome.SEND, DecisionOutcome.SHADOW, DecisionOutcome.HELD_OUT})


def send(turn: Turn, trigger: Trigger, occurrence: Occurrence, step: Send, paused: frozenset[str]) -> bool:
    """Decides a send that is due; returns whether the journey goes on. A deferred send holds it."""
    moment = max(occurrence.due, turn.now_ms - (0 if occurrence.held else trigger.settle_ms))
    name = command_id(trigger.name, turn.state.user_id, occurrence.id, step.id)
    request = GateRequest(turn, trigger, occurrence, step, name, moment, paused)
    verdict = ask(request)
    filled = _fill(request) if verdict.outcome in _RECORDED else None
    record = note(turn, trigger, occurrence, step, verdict)
    if verdict.outcome is DecisionOutcome.DEFER:
        assert verdict.until is not None
        occurrence.wake, occurrence.held = verdict.until, True
        waits_for_profile = verdict.reason is Reason.PROFILE_UNKNOWN
        occurrence.since = (occurrence.since or turn.now_ms) if waits_for_profile else None
        return False
    if filled is not None:
        if verdict.outcome is DecisionOutcome.SEND:
            record.message = _message(trigger, occurrence, step, name, filled)
            record.command_id = name
        _count(turn, trigger, occurrence, step, verdict.outcome, name)
    occurrence.due, occurrence.held, occurrence.since = moment, False, None
    return True


_LEVEL_OF_DATA = 3
"""A field of the data stands in the command's object, in its `data`."""
_Filled = tuple[dict[str, Any], str | None]


def _fill(request: GateRequest) -> _Filled | None:
    """The message's data and address; where one fails the verdict becomes a drop that names it."""
    step, verdict = request.send, request.verdict
    if step.to is None and not step.data:
        return {}, None
    context = request.context
    data: dict[str, Any] = {}
    place = "to"
    try:
        to = None if step.to is None else _address(step.to.string(context))
        for field, expression in step.data:
            place = f"data.{field}"
            data[field] = _keepable(expression.value(context))
    except EvaluationError as error:
        request.turn.problem(request.trigger.name, place, error)
        verdict.outcome, verdict.reason = DecisionOutcome.DROP, Reason.INVALID_DATA
        verdict.inputs["path"] = place
        return None
    return data, to


def _keepable(value: Any) -> Any:
    """The value, where delivery can keep it: an expression may nest what an event brought, or write U+0000."""
    if (problem := problem_of(value, _LEVEL_OF_DATA)) is not None:
        raise EvaluationError(problem)
    return value


def _address(text: str) -> str:
    try:
        return plain_address(text)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _message(trigger: Trigger, occurrence: Occurrence, step: Send, name: str, filled: _Filled) -> Message:
    return Message(
        name,
        step.channel,
        filled[1],
        step.template,
        step.template_hash,
        occurrence.variant,
        trigger.purpose,
        filled[0],
        occurrence.due + trigger.expires_ms,
        trigger.priority,
    )


def _count(
    turn: Turn, trigger: Trigger, occurrence: Occurrence, step: Send, outcome: DecisionOutcome, name: str
) -> None:
    """Reserves in the caps, remembers the command's id, and opens the goal."""
    state = turn.state
    reserve(turn, trigger, occurrence, step, str(outcome), name)
    sent = outcome is DecisionOutcome.SEND
    ids = state.sent.setdefault(trigger.name if sent else recorded_key(outcome, trigger.name), [])
    ids.append(name)
    if len(ids) > MAX_COMMAND_IDS:
        turn.forgot(trigger.name, "command ids")
        del ids[:-MAX_COMMAND_IDS]
    if trigger.goal is not None and outcome is not DecisionOutcome.SHADOW:
        goals = [goal for goal in state.goals if goal.until >= turn.now_ms]
        for goal in goals[: -MAX_GOALS + 1]:
            turn.forgot(goal.trigger, "goals")
        state.goals = goals[-MAX_GOALS + 1 :]
        state.goals.append(
            OpenGoal(
                trigger.name,
                trigger.rule_hash,
                occurrence.id,
                step.id,
                name if outcome is DecisionOutcome.SEND else None,
                turn.now_ms,
                turn.now_ms + trigger.goal.within_ms,
                same_fields(trigger.goal.pattern, occurrence.event),
            )
        )


def note(turn: Turn, trigger: Trigger, occurrence: Occurrence, step: Send, verdict: Verdict) -> DecisionRecord:
    """Records a decision. Where the user's zone is unknown, `zone_given` says what was given (settled case 21)."""
    inputs = verdict.inputs
    zone = turn.zone_given()
    inputs["zone"] = (zone or turn.default_zone).key
    if zone is None:
        inputs["zone_given"] = turn.state.user.zone or ""
    if occurrence.variant is not None:
        inputs["variant"] = occurrence.variant
    event_ids = [occurrence.event.id]
    if occurrence.began != occurrence.event.id:
        event_ids.insert(0, occurrence.began)
    record = DecisionRecord(
        trigger.name,
        trigger.rule_hash,
        turn.state.user_id,
        occurrence.id,
        step.id,
        verdict.outcome,
        verdict.reason,
        turn.now_ms,
        occurrence.due,
        event_ids,
        verdict.answers,
        inputs,
    )
    turn.effects.records.append(record)
    return record
