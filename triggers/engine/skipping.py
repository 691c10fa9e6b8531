"""Skips the due timers of a user for whom firing them raises an exception."""

from collections.abc import Iterable

from triggers.engine import planning
from triggers.engine.evaluation import Evaluation
from triggers.rules.state import LevelState, Membership

SKIPPED = "timer_skipped"


def skip_due(evaluation: Evaluation) -> None:
    """Skips every timer due by now and counts each as `timer_skipped`. Evaluates rules only for the next date.

    Occurrences that are due end without a decision. A crossing or a segment is evaluated again at the user's next
    event. A schedule or date goes on with its next moment.
    """
    state, now_ms = evaluation.state, evaluation.now_ms
    waiting = [each for each in state.running if each.wake > now_ms]
    _count(evaluation, len(state.running) - len(waiting))
    state.running = waiting
    _clear(evaluation, state.levels.values())
    _clear(evaluation, state.segments.values())
    while (moment := planning.first(state, now_ms + 1)) is not None:
        planning.skip(evaluation, moment[1])
        _count(evaluation, 1)


def _clear(evaluation: Evaluation, timers: Iterable[LevelState | Membership]) -> None:
    for timer in timers:
        if timer.due is not None and timer.due <= evaluation.now_ms:
            timer.due = None
            _count(evaluation, 1)


def _count(evaluation: Evaluation, times: int) -> None:
    for _ in range(times):
        evaluation.count(SKIPPED)
