"""Goals: events that are counted once after a send or a holdout. They only measure."""

from schemas.vocabulary import DecisionOutcome
from triggers.cel.conditions import Context
from triggers.cel.runtime import as_time
from triggers.engine.evaluation import Evaluation, agree
from triggers.engine.records import DecisionRecord
from triggers.rules.events import StoredEvent
from triggers.rules.state import OpenGoal


def reach(evaluation: Evaluation, event: StoredEvent, context: Context) -> None:
    """Counts each open goal that the event reaches, and closes it."""
    still: list[OpenGoal] = []
    for goal in evaluation.state.goals:
        if _reached(evaluation, goal, event, context):
            evaluation.effects.records.append(_record(evaluation, goal, event))
        elif goal.until >= evaluation.now_ms:
            still.append(goal)
    evaluation.state.goals = still


def _reached(evaluation: Evaluation, goal: OpenGoal, event: StoredEvent, context: Context) -> bool:
    trigger = evaluation.rules.triggers.get(goal.trigger)
    if trigger is None or trigger.goal is None or not goal.at < event.time_ms <= goal.until:
        return False
    pattern = trigger.goal.pattern
    if event.type not in pattern.types or len(pattern.same) != len(goal.same):
        return False
    entry = StoredEvent("", "", 0, "", dict(zip(pattern.same, goal.same, strict=True)))
    return agree(pattern, event, entry) and evaluation.holds(trigger.name, "goal", pattern.where, context)


def _record(evaluation: Evaluation, goal: OpenGoal, event: StoredEvent) -> DecisionRecord:
    return DecisionRecord(
        goal.trigger,
        goal.rule_hash,
        evaluation.state.user_id,
        goal.occurrence,
        goal.step,
        DecisionOutcome.GOAL,
        None,
        evaluation.now_ms,
        None,
        [event.id],
        inputs={"sent_at": as_time(goal.at).isoformat(), "held_out": goal.command_id is None},
        command_id=goal.command_id,
        distinction=event.id,
    )
