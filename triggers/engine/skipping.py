"""Skipping due timers: what is done with the timers of a user for whom firing them raises an exception."""

from collections.abc import Iterable

from triggers.engine import planning
from triggers.engine.turn import Turn
from triggers.rules.state import LevelState, Membership

SKIPPED = "timer_skipped"


def skip_due(turn: Turn) -> None:
    """Skips every timer due by now, and counts each as `timer_skipped`; evaluates no rule but for the next date.

    Occurrences that are due end without a decision. A crossing or a segment is evaluated again at the user's next
    event. A schedule or date goes on with its next moment.
    """
    state, now_ms = turn.state, turn.now_ms
    waiting = [each for each in state.running if each.wake > now_ms]
    _count(turn, len(state.running) - len(waiting))
    state.running = waiting
    _clear(turn, state.levels.values())
    _clear(turn, state.segments.values())
    while (moment := planning.first(state, now_ms + 1)) is not None:
        planning.skip(turn, moment[1])
        _count(turn, 1)


def _clear(turn: Turn, timers: Iterable[LevelState | Membership]) -> None:
    for timer in timers:
        if timer.due is not None and timer.due <= turn.now_ms:
            timer.due = None
            _count(turn, 1)


def _count(turn: Turn, times: int) -> None:
    for _ in range(times):
        turn.count(SKIPPED)
