"""Decides one send: asks the gates, evaluates its data, records the decision and counts it."""

from functools import lru_cache
from typing import Any

from schemas.addresses import plain_address
from schemas.bounds import problem_of
from schemas.vocabulary import DecisionOutcome, Reason
from triggers.cel.runtime import EvaluationError
from triggers.engine.caps import reserve
from triggers.engine.evaluation import Evaluation, same_fields
from triggers.engine.gates.dedupe import recorded_key
from triggers.engine.gates.request import GateRequest, Verdict
from triggers.engine.gates.table import ask
from triggers.engine.records import CommandFields, DecisionRecord
from triggers.measures.shapes import Rolling
from triggers.rules.rule import Send, SendBudget, Trigger
from triggers.rules.state import Occurrence, OpenGoal

MAX_COMMAND_IDS = 128
MAX_GOALS = 64
_RECORDED = frozenset({DecisionOutcome.SEND, DecisionOutcome.SHADOW, DecisionOutcome.HELD_OUT})


def send(evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, step: Send) -> bool:
    """Decides a due send; returns whether the journey continues. A deferred send holds it."""
    moment = max(occurrence.due, evaluation.now_ms - (0 if occurrence.held else trigger.settle_ms))
    request = GateRequest(evaluation, trigger, occurrence, step, moment)
    verdict = ask(request)
    content = _content(request) if verdict.outcome in _RECORDED else None
    record = record_decision(evaluation, trigger, occurrence, step, verdict)
    if verdict.outcome is DecisionOutcome.DEFER:
        assert verdict.until is not None
        occurrence.wake, occurrence.held = verdict.until, True
        waits_for_profile = verdict.reason is Reason.PROFILE_UNKNOWN
        occurrence.since = (occurrence.since or evaluation.now_ms) if waits_for_profile else None
        return False
    if content is not None:
        name = request.command_id
        if verdict.outcome is DecisionOutcome.SEND:
            record.command_fields = _command_fields(evaluation, trigger, occurrence, step, name, content)
            record.command_id = name
        _remember(evaluation, trigger, occurrence, step, verdict.outcome, name)
    occurrence.due, occurrence.held, occurrence.since = moment, False, None
    return True


_LEVEL_OF_DATA = 3
"""The nesting level of a value in the command's `data`."""
_Content = tuple[dict[str, Any], str | None]


def _content(request: GateRequest) -> _Content | None:
    """The command's data and address. If an expression fails, the verdict becomes a drop that names it."""
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
            data[field] = _storable(expression.value(context))
    except EvaluationError as error:
        request.evaluation.problem(request.trigger.name, place, error)
        verdict.outcome, verdict.reason = DecisionOutcome.DROP, Reason.INVALID_DATA
        verdict.inputs["path"] = place
        return None
    return data, to


def _storable(value: Any) -> Any:
    """The value if delivery can store it; raises EvaluationError otherwise, as for deep nesting or U+0000."""
    if (problem := problem_of(value, _LEVEL_OF_DATA)) is not None:
        raise EvaluationError(problem)
    return value


def _address(text: str) -> str:
    try:
        return plain_address(text)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _command_fields(
    evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, step: Send, name: str, content: _Content
) -> CommandFields:
    return CommandFields(
        name,
        step.channel,
        content[1],
        step.template,
        step.template_hash,
        occurrence.variant,
        trigger.consent,
        content[0],
        occurrence.due + trigger.expires_ms,
        trigger.priority,
        trigger.brand,
        _budgets(trigger.budgets, evaluation.default_zone.key) if trigger.budgets and not step.is_webhook else None,
    )


@lru_cache(maxsize=256)
def _budgets(budgets: tuple[SendBudget, ...], zone: str) -> list[dict[str, Any]]:
    """The budgets as commands carry them. A calendar window is that of the project's default zone."""
    found = []
    for each in budgets:
        window = {"per_ms": each.window.ms} if isinstance(each.window, Rolling) else {"unit": each.window.unit}
        zoned = {} if isinstance(each.window, Rolling) else {"zone": zone}
        found.append({"name": each.name, "max": each.maximum, **window, **zoned})
    return found


def _remember(
    evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, step: Send, outcome: DecisionOutcome, name: str
) -> None:
    """Remembers the command's id; of a message, reserves a place in the caps and opens the goal."""
    state = evaluation.state
    if not step.is_webhook:
        reserve(evaluation, trigger, occurrence, step, str(outcome), name)
    sent = outcome is DecisionOutcome.SEND
    ids = state.remember_command(trigger.name if sent else recorded_key(outcome, trigger.name), name)
    if len(ids) > MAX_COMMAND_IDS:
        evaluation.forgot(trigger.name, "command ids")
        del ids[:-MAX_COMMAND_IDS]
    if trigger.goal is not None and outcome is not DecisionOutcome.SHADOW and not step.is_webhook:
        goals = [goal for goal in state.goals if goal.until >= evaluation.now_ms]
        for goal in goals[: -MAX_GOALS + 1]:
            evaluation.forgot(goal.trigger, "goals")
        state.goals = goals[-MAX_GOALS + 1 :]
        state.goals.append(
            OpenGoal(
                trigger.name,
                trigger.rule_hash,
                occurrence.id,
                step.id,
                name if outcome is DecisionOutcome.SEND else None,
                evaluation.now_ms,
                evaluation.now_ms + trigger.goal.within_ms,
                same_fields(trigger.goal.pattern, occurrence.event),
            )
        )


def record_decision(
    evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, step: Send, verdict: Verdict
) -> DecisionRecord:
    """Records a decision. If the user's zone is unknown, `zone_given` says what was given (settled case 21)."""
    inputs = verdict.inputs
    zone = evaluation.zone_given()
    inputs["zone"] = (zone or evaluation.default_zone).key
    if zone is None:
        inputs["zone_given"] = evaluation.state.user.zone or ""
    if occurrence.variant is not None:
        inputs["variant"] = occurrence.variant
    if step.is_webhook:
        inputs["endpoint"] = step.template
    event_ids = [occurrence.event.id]
    if occurrence.began != occurrence.event.id:
        event_ids.insert(0, occurrence.began)
    if occurrence.has_match:
        event_ids.append(occurrence.matched.id)
    record = DecisionRecord(
        trigger.name,
        trigger.rule_hash,
        evaluation.state.user_id,
        occurrence.id,
        step.id,
        verdict.outcome,
        verdict.reason,
        evaluation.now_ms,
        occurrence.due,
        event_ids,
        verdict.answers,
        inputs,
    )
    evaluation.effects.records.append(record)
    return record
