"""The change of a ledger row that an answer of policy makes."""

from datetime import datetime

from schemas.vocabulary import LedgerState
from senders.policy.pipeline import Delay, Stop
from senders.queue.ledger import CommandStatus
from senders.queue.transitions import StateChange


def change_of(status: CommandStatus, answer: Stop | Delay, now: datetime) -> StateChange:
    """The change of a ledger row. A command in doubt stays in doubt, whatever stops it: it may have been sent."""
    state = LedgerState(status.state)
    if isinstance(answer, Delay):
        return StateChange(
            status.command_id,
            status.attempt,
            state,
            now,
            answer.reason,
            answer.detail,
            next_attempt_at=answer.until,
            behind=answer.behind,
        )
    if state is LedgerState.IN_DOUBT:
        reason = answer.reason or answer.state
        return StateChange(status.command_id, status.attempt, state, now, reason, answer.detail)
    return StateChange(status.command_id, status.attempt, answer.state, now, answer.reason, answer.detail)
