"""What `on` says of time and order: schedules, dates and sequences."""

from triggers.language import values
from triggers.language.diagnostics import Problem, Report
from triggers.language.document_reader import ENTRY, DocumentReader
from triggers.language.reader import MappingReader
from triggers.language.time_shapes import clock, moment, schedule, zone
from triggers.language.yaml_tree import MappingNode, Node, SequenceNode
from triggers.measures.shapes import MS
from triggers.rules.rule import Anniversary, Pattern, Sequence, Source

TIME_SOURCES = ("every", "date", "sequence")
"""The keys by which these sources are known."""


def time_source(document: DocumentReader, node: MappingNode) -> Source | None:
    """The source that has one of TIME_SOURCES."""
    if "sequence" in node.items:
        return _sequence(document, node)
    if "date" in node.items:
        return _date(document, node)
    return schedule(document, node, "on")


def _sequence(document: DocumentReader, node: Node) -> Sequence:
    mapping = document.mapping(node, "on", "SEQUENCE")
    patterns = mapping.required("sequence", lambda n: _patterns(document, mapping, n), ())
    within_ms = mapping.required("within", lambda n: values.duration(n, "within"), 1)
    same = mapping.optional("same", lambda n: _fields(document.report, n), ())
    return Sequence(patterns, within_ms, same)


def _patterns(document: DocumentReader, mapping: MappingReader, node: Node) -> tuple[Pattern, ...]:
    if not isinstance(node, SequenceNode):
        raise values.wrong(node, "sequence", "a list of events")
    fewest, most = mapping.declared_key("sequence").size or (0, len(node.items))
    if not fewest <= len(node.items) <= most:
        raise Problem(node.index, "invalid-value", f"a sequence has {fewest} to {most} events")
    return values.several(document.report, node, lambda item: document.pattern(item, "sequence", ENTRY))


def _fields(report: Report, node: Node) -> tuple[str, ...]:
    return values.several(report, node, lambda item: values.name(item, "a field"))


def _date(document: DocumentReader, node: Node) -> Anniversary | None:
    mapping = document.mapping(node, "on", "DATE")
    if "before" in mapping and "after" in mapping:
        message = "a date takes only one of `before` and `after`"
        raise Problem(mapping.place("after"), "conflict", message, "remove one; without both it is that day itself")
    condition = mapping.required("date", lambda n: moment(document.expressions, n, "date", ("user",)), None)
    at = mapping.optional("at", clock, None)
    after_ms, before_ms = (_offset(mapping, key, whole_days=at is not None) for key in ("after", "before"))
    yearly = mapping.declared("yearly", lambda n: values.flag(n, "yearly"))
    where = mapping.declared("zone", zone)
    return None if condition is None else Anniversary(condition, after_ms - before_ms, at, yearly, where)


def _offset(mapping: MappingReader, key: str, *, whole_days: bool) -> int:
    ms = mapping.declared(key, lambda n: values.duration(n, key, zero=True))
    if whole_days and ms % MS["d"]:
        hint = "as in 3d or 2w; without `at` it is elapsed time"
        raise Problem(mapping.place(key), "invalid-duration", f"with `at`, {key} counts whole days", hint)
    return ms
