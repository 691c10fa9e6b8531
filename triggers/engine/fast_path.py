"""The fast path: applies an event that only adds to scores and windows, to the encoded state.

Most events of a programme that scores its users do no more than that, and what events of each type may do is known when
rules are loaded. The fast path decodes the parts of a state that such events change, changes them by the same functions
as the general path, and copies the rest. If an event does more (a timer is due, a level rises, a trigger begins, an
expression fails, a limit on memory is reached), it returns None and has changed nothing; the general path then applies
the event from the beginning. So both paths give the same bytes.
"""

from dataclasses import dataclass

from schemas.zones import UTC_ZONE
from triggers.cel.conditions import Condition, Context
from triggers.cel.runtime import FAILURES
from triggers.engine.levels import add_points, count_event, rises
from triggers.measures.shapes import Calendar
from triggers.measures.windows import MAX_AMOUNT, value_text
from triggers.rules.encoding import HotState, decode_hot, encode_hot, require_format
from triggers.rules.events import StoredEvent
from triggers.rules.routes import LevelRule, Route, ScoreAddition, StoredMetric
from triggers.rules.rule import Pattern, Trigger
from triggers.rules.ruleset import AHEAD_MS, RuleSet
from triggers.rules.state import window_to_add

_EVENT_NAMES = frozenset({"event", "now"})


class NotFast(Exception):
    """Events of a type need the general path; says why."""


class _GeneralPath(Exception):
    """This event needs the general path."""


@dataclass(frozen=True, slots=True)
class FastRoute:
    """What events of one type do on the fast path."""

    begins: tuple[Condition, ...]
    """If one of these is true, a trigger begins."""
    metrics: tuple[StoredMetric, ...]
    additions: tuple[ScoreAddition, ...]
    crossings: tuple[LevelRule, ...]


class FastPath:
    """The fast path of a rule set: a route for each event type that can take it."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self.routes: dict[str, FastRoute] = {}
        self.refused: dict[str, str] = {}
        """For each other event type that rules read: why its events need the general path."""
        for event_type, route in rules.routes.items():
            try:
                self.routes[event_type] = fast_route(rules, event_type, route)
            except NotFast as reason:
                self.refused[event_type] = str(reason)

    def apply(self, raw: bytes, event: StoredEvent, context: Context, now_ms: int) -> bytes | None:
        """The encoded state after the event; None if the general path must apply it.

        `context` is the event's, without a user.
        """
        route = self.routes.get(event.type)
        if route is None:
            return None
        hot = changed(self._rules, route, raw, event, context, now_ms)
        return None if hot is None else encode_hot(hot)


def changed(
    rules: RuleSet, route: FastRoute, raw: bytes, event: StoredEvent, context: Context, now_ms: int
) -> HotState | None:
    """The hot part of the state after the event; None if the general path must apply it."""
    if event.time_ms > now_ms + AHEAD_MS:
        return None
    require_format(raw)
    hot = decode_hot(raw)
    due = hot.due
    if (due is not None and due < now_ms) or hot.plan_version != rules.plan_version:
        return None
    if not rules.keeps_all(hot.windows.keys()) or not hot.seen.add(event.id, now_ms):
        return None
    try:
        _change(hot, route, event, context)
    except (_GeneralPath, *FAILURES):
        return None
    return hot


def _change(hot: HotState, route: FastRoute, event: StoredEvent, context: Context) -> None:
    for where in route.begins:
        if where.holds(context):
            raise _GeneralPath
    for counted in route.metrics:
        if (found := _measured(counted, context)) is not None and counted.tally.add(
            window_to_add(hot.windows, counted.key), event.time_ms, *found
        ):
            raise _GeneralPath
    for each in route.additions:
        if each.where is None or each.where.holds(context):
            _add(hot, each, event, context)
    for rule in route.crossings:
        assert rule.counted is not None
        if (found := _measured(rule.counted, context)) is not None:
            if found[0] < 0:
                raise _GeneralPath
            added, forgot = count_event(window_to_add(hot.windows, rule.counted.key), rule, event, found, UTC_ZONE)
            if forgot or rises(hot.levels, rule, added):
                raise _GeneralPath


def _add(hot: HotState, each: ScoreAddition, event: StoredEvent, context: Context) -> None:
    points = each.points.number(context) if each.constant is None else each.constant
    if points < 0:
        raise _GeneralPath
    levels = each.levels
    added = add_points(hot.scores, each.score, points, event, read_before=bool(levels))
    if added.merged:
        raise _GeneralPath
    for rule in levels:
        if rises(hot.levels, rule, added):
            raise _GeneralPath


def _measured(counted: StoredMetric, context: Context) -> tuple[float, str] | None:
    """The amount and the value that a window stores; None if it does not count the event."""
    metric = counted.metric
    if metric.pattern.where is not None and not metric.pattern.where.holds(context):
        return None
    amount = 0.0 if metric.sum is None else metric.sum.number(context)
    if abs(amount) > MAX_AMOUNT:
        raise _GeneralPath
    return amount, "" if metric.distinct is None else value_text(metric.distinct.value(context))


def fast_route(rules: RuleSet, event_type: str, route: Route) -> FastRoute:
    """What events of the type do; raises NotFast."""
    for trigger in (*rules.triggers.values(), *rules.kept.values()):
        if any(event_type in pattern.types for pattern in trigger.unless):
            raise NotFast(f"`unless` of trigger {trigger.name} reads it")
    for _, name in route.awaited:
        raise NotFast(f"`wait_for` of trigger {name} reads it")
    if route.goals:
        raise NotFast("a goal reads it")
    if route.sequences:
        raise NotFast(f"a sequence of trigger {route.sequences[0].trigger.name} reads it")
    if route.segments:
        raise NotFast(f"it may move segment {route.segments[0].name}")
    begins = [_beginning(trigger, pattern) for trigger, patterns in route.begins for pattern in patterns]
    for counted in route.metrics:
        _require_event_only(f"metric {counted.metric.name}", _conditions(counted))
    _require_additions(route)
    for rule in route.crossings:
        _require_rising(rule)
        if rule.same:
            raise NotFast(f"trigger {rule.trigger.name} groups it by `same`")
        assert rule.counted is not None
        if isinstance(rule.counted.metric.window, Calendar):
            raise NotFast(f"trigger {rule.trigger.name} counts it by the user's calendar")
        _require_event_only(f"trigger {rule.trigger.name}", _conditions(rule.counted))
    return FastRoute(tuple(begins), tuple(route.metrics), tuple(route.additions), tuple(route.crossings))


def _beginning(trigger: Trigger, pattern: Pattern) -> Condition:
    if pattern.where is None:
        raise NotFast(f"trigger {trigger.name} begins with each")
    _require_event_only(f"trigger {trigger.name}", [pattern.where])
    return pattern.where


def _require_additions(route: Route) -> None:
    for each in route.additions:
        for rule in each.levels:
            _require_rising(rule)
        _require_event_only(f"score {each.score.name}", [each.where, each.points])


def _require_rising(rule: LevelRule) -> None:
    if rule.crossing.falls:
        raise NotFast(f"it may move the timer of trigger {rule.trigger.name}, which begins when a level falls")


def _conditions(counted: StoredMetric) -> list[Condition | None]:
    return [counted.metric.pattern.where, counted.metric.sum, counted.metric.distinct]


def _require_event_only(owner: str, conditions: list[Condition | None]) -> None:
    for condition in conditions:
        if condition is not None and not reads_only_event(condition):
            raise NotFast(f"`{condition.text}` of {owner} reads more than the event")


def reads_only_event(condition: Condition) -> bool:
    """Whether it has the same value for every user and state."""
    return condition.code.roots <= _EVENT_NAMES
