"""Local time in rule files: zones, schedules, and expressions that give a date or a timestamp."""

from collections.abc import Collection
from datetime import time

from schemas.numbers import bounds_text
from schemas.wording import quoted
from schemas.zones import zone_hint, zone_named
from triggers.cel.conditions import Condition, written_moments
from triggers.language import keys, values
from triggers.language.diagnostics import Problem, Report
from triggers.language.document_reader import DocumentReader
from triggers.language.expressions import Expressions
from triggers.language.yaml_tree import Node, ScalarNode, SequenceNode
from triggers.measures import shapes
from triggers.measures.shapes import Schedule

_EVERY_DAY = frozenset(range(7))
_MONTH_DAYS = keys.record("SCHEDULE").key("day").bounds
_MOMENTS = ("timestamp", "string", "int", "double", "null", "dyn")


def zone(node: Node) -> str | None:
    """An IANA name, or None for `user`."""
    value = values.text(node, "zone")
    if value == "user":
        return None
    if zone_named(value) is None:
        raise Problem(node.index, "invalid-zone", f"unknown time zone {quoted(value)}", zone_hint(value, "or user"))
    return value


def users_zone(node: Node) -> None:
    """A zone in a profile: an IANA name, or "" for none. Raises Problem for another value."""
    value = values.text(node, "zone")
    if value and zone_named(value) is None:
        raise Problem(node.index, "invalid-zone", f"unknown time zone {quoted(value)}", zone_hint(value))


def clock(node: Node) -> time:
    """A time of day."""
    return values.shape(node, "at", "invalid-schedule", shapes.clock_time)


def schedule(document: DocumentReader, node: Node, what: str) -> Schedule:
    """`{every, day, at, zone}`."""
    mapping = document.mapping(node, what, "SCHEDULE")
    monthly, weekdays = mapping.required("every", lambda n: _every(document.report, n), (False, _EVERY_DAY))
    at = mapping.required("at", clock, time())
    if "day" in mapping and not monthly:
        raise Problem(mapping.place("day"), "conflict", "`day` goes with `every: month`")
    day = mapping.declared("day", _month_day)
    where = mapping.declared("zone", zone)
    return Schedule(at, None, day, where) if monthly else Schedule(at, weekdays, None, where)


def _every(report: Report, node: Node) -> tuple[bool, frozenset[int]]:
    """Whether it is monthly, and otherwise the weekdays."""
    if isinstance(node, ScalarNode) and node.text in ("day", "month"):
        return node.text == "month", _EVERY_DAY
    if not isinstance(node, ScalarNode | SequenceNode):
        raise values.wrong(node, "every", "day, month, a weekday or a list of weekdays")
    return False, frozenset(values.several(report, node, _weekday))


def _weekday(node: Node) -> int:
    return values.shape(node, "every", "invalid-schedule", _weekday_number)


def _weekday_number(text: str) -> int:
    try:
        return shapes.weekday(text)
    except shapes.ShapeError as error:
        raise shapes.ShapeError(f"`{text[:40]}` is no day", _every_hint(text.strip().lower())) from error


def _every_hint(text: str) -> str:
    if text in ("daily", "days") or shapes.duration_meant(text) == "1d":
        return "write every: day"
    if text in ("monthly", "1 month", "months"):
        return "write every: month"
    if text in ("weekly", "week") or shapes.duration_meant(text) == "1w":
        return "name the weekday, as in every: monday"
    if text in ("hourly", "hour", "minute") or shapes.duration_meant(text):
        return "a schedule has one time on a day: day, month, or weekdays, as in mon or monday"
    return "day, month, or weekdays, as in mon or monday"


def _month_day(node: Node) -> int | None:
    if isinstance(node, ScalarNode) and node.text == "last":
        return None
    low, high = _MONTH_DAYS
    if isinstance(node, ScalarNode) and node.value.__class__ is int and low <= int(node.text) <= high:
        return int(node.text)
    message = f"day must be {bounds_text(low, high)}, or last"
    raise Problem(node.index, "invalid-schedule", message, "every month has these days")


def moment(expressions: Expressions, node: Node, what: str, roots: Collection[str]) -> Condition:
    """An expression that gives a timestamp, or a date as JSON has it: a text, or seconds as a number."""
    condition = expressions.compile(node, what, "value", roots)
    if condition.code.type not in _MOMENTS:
        hint = "a timestamp, a text as in 2026-06-12, or seconds since 1970"
        raise Problem(node.index, "cel-type", f"{what}: gives a {condition.code.type}, not a date", hint)
    return written_moments(condition)
