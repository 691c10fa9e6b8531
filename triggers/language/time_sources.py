"""What `on` says of time and order: schedules, dates and sequences."""

from triggers.language import reader
from triggers.language.diagnostics import Problem, Report
from triggers.language.parts import ENTRY, Parts
from triggers.language.reader import Reader
from triggers.language.time_shapes import clock, moment, schedule, zone
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode
from triggers.measures.shapes import MS
from triggers.rules.rule import Anniversary, Pattern, Sequence, Source

TIME_SOURCES = ("every", "date", "sequence")
"""The keys by which these sources are known."""
MAX_PATTERNS = 8


def time_source(parts: Parts, node: MappingNode) -> Source | None:
    """The source that has one of TIME_SOURCES."""
    if "sequence" in node.items:
        return _sequence(parts, node)
    if "date" in node.items:
        return _date(parts, node)
    return schedule(parts.report, node, "on")


def _sequence(parts: Parts, node: Node) -> Sequence:
    read = Reader(parts.report, node, "on", ("sequence", "within", "same"))
    patterns = read.required("sequence", lambda n: _patterns(parts, n), ())
    within_ms = read.required("within", lambda n: reader.duration(n, "within"), 1)
    same = read.optional("same", lambda n: _fields(parts.report, n), ())
    return Sequence(patterns, within_ms, same)


def _patterns(parts: Parts, node: Node) -> tuple[Pattern, ...]:
    if not isinstance(node, SequenceNode):
        raise reader.wrong(node, "sequence", "a list of events")
    if not 2 <= len(node.items) <= MAX_PATTERNS:
        raise Problem(node.index, "invalid-value", f"a sequence has 2 to {MAX_PATTERNS} events")
    return reader.several(parts.report, node, lambda item: parts.pattern(item, "sequence", ENTRY))


def _fields(report: Report, node: Node) -> tuple[str, ...]:
    return reader.several(report, node, lambda item: reader.name(item, "a field"))


def _date(parts: Parts, node: Node) -> Anniversary | None:
    read = Reader(parts.report, node, "on", ("date", "before", "after", "at", "yearly", "zone"))
    if "before" in read and "after" in read:
        raise Problem(read.place("after"), "conflict", "a date has one of `before` and `after`, or neither: on it")
    condition = read.required("date", lambda n: moment(parts.expressions, n, "date", ("user",)), None)
    at = read.optional("at", clock, None)
    offset_ms = _offset(read, "after", whole_days=at is not None) - _offset(read, "before", whole_days=at is not None)
    yearly = read.optional("yearly", _flag, False)
    where = read.optional("zone", zone, None)
    return None if condition is None else Anniversary(condition, offset_ms, at, yearly, where)


def _offset(read: Reader, key: str, *, whole_days: bool) -> int:
    ms = read.optional(key, lambda n: reader.duration(n, key, zero=True), 0)
    if whole_days and ms % MS["d"]:
        hint = "as in 3d or 2w; without `at` it is elapsed time"
        raise Problem(read.place(key), "invalid-duration", f"with `at`, {key} counts whole days", hint)
    return ms


def _flag(node: Node) -> bool:
    if not isinstance(node, ScalarNode) or not isinstance(node.value, bool):
        raise reader.wrong(node, "yearly", "true or false")
    return node.value
