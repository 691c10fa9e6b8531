"""Goals: what is counted after a send or holdout, once each. They measure and never stop anything."""

from schemas.vocabulary import DecisionOutcome
from triggers.cel.conditions import Context
from triggers.cel.runtime import as_time
from triggers.engine.records import DecisionRecord
from triggers.engine.turn import Turn, agree
from triggers.rules.state import OpenGoal, StoredEvent


def reach(turn: Turn, event: StoredEvent, context: Context) -> None:
    """Counts each open goal that the event reaches, once, and forgets it."""
    still: list[OpenGoal] = []
    for goal in turn.state.goals:
        if _reached(turn, goal, event, context):
            turn.effects.records.append(_record(turn, goal, event))
        elif goal.until >= turn.now_ms:
            still.append(goal)
    turn.state.goals = still


def _reached(turn: Turn, goal: OpenGoal, event: StoredEvent, context: Context) -> bool:
    trigger = turn.rules.triggers.get(goal.trigger)
    if trigger is None or trigger.goal is None or not goal.at < event.time_ms <= goal.until:
        return False
    pattern = trigger.goal.pattern
    if event.type not in pattern.types or len(pattern.same) != len(goal.same):
        return False
    entry = StoredEvent("", "", 0, "", dict(zip(pattern.same, goal.same, strict=True)))
    return agree(pattern, event, entry) and turn.holds(trigger.name, "goal", pattern.where, context)


def _record(turn: Turn, goal: OpenGoal, event: StoredEvent) -> DecisionRecord:
    return DecisionRecord(
        goal.trigger,
        goal.rule_hash,
        turn.state.user_id,
        goal.occurrence,
        goal.step,
        DecisionOutcome.GOAL,
        None,
        turn.now_ms,
        None,
        [event.id],
        inputs={"sent_at": as_time(goal.at).isoformat(), "held_out": goal.command_id is None},
        command_id=goal.command_id,
        what=event.id,
    )
