"""Fires timers: crossings, segments, schedules, dates and occurrences, in order of their time.

At one instant crossings go first, then segments, then schedules and dates, then occurrences by priority and trigger.
"""

from collections.abc import Iterable

from triggers.engine import edited_rules, entries, journeys, levels, planning, segments
from triggers.engine.evaluation import Evaluation
from triggers.rules.state import Occurrence, UserState

_CROSSING, _SEGMENT, _PLAN = range(3)
"""Their order at one instant."""


def fire(
    evaluation: Evaluation,
    limit_ms: int,
    *,
    inclusive: bool,
    fed: frozenset[str] = frozenset(),
    event_ms: int | None = None,
) -> None:
    """Fires what is due before `limit_ms`, or also at it if `inclusive`.

    Crossings in `fed`, which an event at `event_ms` is about to move, fire only if they are due before that event.
    """
    edited_rules.adopt(evaluation)
    due_before = limit_ms + 1 if inclusive else limit_ms
    fed_before = due_before if event_ms is None else min(due_before, event_ms)
    begin = (_cross, _evaluate_segment, _reach)
    while True:
        occurrence = _first_occurrence(evaluation, due_before)
        beginning = _first_beginning(evaluation.state, due_before, fed, fed_before)
        if beginning is not None and (occurrence is None or beginning[0] <= occurrence.wake):
            _, kind, name = beginning
            begin[kind](evaluation, name)
        elif occurrence is not None:
            journeys.advance(evaluation, occurrence)
        else:
            return


def run(evaluation: Evaluation, occurrences: list[Occurrence]) -> None:
    """Advances these occurrences as far as they are due. Of several, one may have evicted another when it began."""
    if len(occurrences) == 1:
        (only,) = occurrences
        while only.wake <= evaluation.now_ms and journeys.advance(evaluation, only):
            pass
        return
    running = {id(each) for each in evaluation.state.running}
    going = [each for each in occurrences if id(each) in running]
    while due := [each for each in going if each.wake <= evaluation.now_ms]:
        first = _first(evaluation, due)
        if not journeys.advance(evaluation, first):
            going = [each for each in going if each is not first]


def begin_moves(evaluation: Evaluation, moves: Iterable[segments.Move]) -> list[Occurrence]:
    """Begins what crossings and segments begin; returns the occurrences."""
    begun: list[Occurrence] = []
    for trigger, entry in moves:
        add_once(begun, entries.begin(evaluation, trigger, entry, entry.time_ms))
    return begun


def add_once(begun: list[Occurrence], occurrence: Occurrence | None) -> None:
    """Adds an occurrence that began, unless it is in the list."""
    if occurrence is None:
        return
    for each in begun:
        if each is occurrence:
            return
    begun.append(occurrence)


def _first_occurrence(evaluation: Evaluation, due_before: int) -> Occurrence | None:
    """The occurrence that wakes first before an instant."""
    due = [occurrence for occurrence in evaluation.state.running if occurrence.wake < due_before]
    if len(due) < 2:
        return due[0] if due else None
    return _first(evaluation, due)


def _first(evaluation: Evaluation, occurrences: list[Occurrence]) -> Occurrence:
    triggers = evaluation.rules.triggers

    def order(occurrence: Occurrence) -> tuple[int, int, str, str]:
        trigger = triggers.get(occurrence.trigger)
        priority = trigger.priority if trigger is not None else 0
        return (occurrence.wake, -priority, occurrence.trigger, occurrence.id)

    return min(occurrences, key=order)


def _first_beginning(
    state: UserState, due_before: int, fed: frozenset[str], fed_before: int
) -> tuple[int, int, str] | None:
    """The first timer that may begin something: its instant, its kind (crossing, segment or plan) and its id."""
    found = []
    if (crossing := _first_crossing(state, due_before, fed, fed_before)) is not None:
        found.append((crossing[0], _CROSSING, crossing[1]))
    for key, membership in state.segments.items():
        if membership.due is not None and membership.due < due_before:
            found.append((membership.due, _SEGMENT, key))
    if state.plans and (plan := planning.first(state, due_before)) is not None:
        found.append((plan[0], _PLAN, plan[1]))
    return min(found, default=None)


def _first_crossing(state: UserState, due_before: int, fed: frozenset[str], fed_before: int) -> tuple[int, str] | None:
    """The crossing that is due first: (instant, its id)."""
    first: tuple[int, str] | None = None
    for name, level in state.levels.items():
        due = level.due
        if due is None or due >= (fed_before if name in fed else due_before):
            continue
        if first is None or (due, name) < first:
            first = (due, name)
    return first


def _cross(evaluation: Evaluation, name: str) -> None:
    level = evaluation.state.levels[name]
    rule = evaluation.rules.level(name)
    if rule is None:
        del evaluation.state.levels[name]
        return
    crossed = levels.cross(evaluation, rule, level)
    if crossed is not None:
        entries.begin(evaluation, rule.trigger, crossed, crossed.time_ms)


def _evaluate_segment(evaluation: Evaluation, key: str) -> None:
    begin_moves(evaluation, segments.fall_due(evaluation, key))


def _reach(evaluation: Evaluation, name: str) -> None:
    """The moment of a schedule or date has come."""
    clock = evaluation.rules.clocks[name]
    entry = planning.reach(evaluation, clock)
    entries.begin(evaluation, clock.trigger, entry, entry.time_ms)
