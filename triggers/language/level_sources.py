"""What crosses a line, as `on` has it: a score, or what happens within a window."""

from schemas.numbers import number_text
from triggers.cel.conditions import Condition, Kind
from triggers.language import keys, values
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import ENTRY, DocumentReader
from triggers.language.reader import MappingReader
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode
from triggers.measures import shapes
from triggers.measures.windows import EXACT, Measure
from triggers.rules.rule import Crossing, Metric, SegmentChange, WindowCrossing

LEVEL_KEYS = tuple(name for name in keys.names("LEVEL") if name not in keys.names("EVENT"))
LEAST, MOST = 1e-9, 1e12
"""The lines that a score or a sum can be compared with."""


def read_score_crossing(document: DocumentReader, node: MappingNode) -> Crossing:
    """`{score, reaches or falls_below, rearm}`."""
    mapping = document.mapping(node, "on", "SCORE_LEVEL")
    score = mapping.required("score", lambda n: values.identifier(n, "a score's name"), "")
    document.references.scores.append((score, node.items["score"].index))
    return Crossing(score, *_lines(mapping, whole=False))


def read_window_crossing(document: DocumentReader, node: MappingNode) -> WindowCrossing:
    """`{event, where, same, within, sum or distinct, reaches or falls_below, rearm}`, or with `inactive: D`."""
    mapping = document.mapping(node, "on", "LEVEL")
    pattern = document.pattern_keys(mapping, ENTRY)
    if "inactive" in mapping:
        for key in LEVEL_KEYS:
            if key != "inactive" and key in mapping:
                hint = "inactive: D is short for within: D, falls_below: 1"
                raise Problem(mapping.place(key), "conflict", f"`{key}` does not go with `inactive`", hint)
        window_ms = mapping.required("inactive", lambda n: values.duration(n, "inactive"), 1)
        return WindowCrossing(Metric("", pattern, shapes.Rolling(window_ms)), "count", falls=True, line=1, rearm=1)
    if "sum" in mapping and "distinct" in mapping:
        message = "a crossing takes only one of `sum` and `distinct`"
        raise Problem(mapping.place("distinct"), "conflict", message, "remove one of the two")
    measure: Measure = "sum" if "sum" in mapping else "distinct" if "distinct" in mapping else "count"
    window = mapping.required("within", lambda n: read_window(n, ever=False), shapes.Rolling(1))
    metric = Metric("", pattern, window, *read_measures(document, mapping, ENTRY, pattern.types))
    return WindowCrossing(metric, measure, *_lines(mapping, whole=measure != "sum"))


def read_segment_change(document: DocumentReader, node: MappingNode) -> SegmentChange:
    """`{enters: SEGMENT}` or `{leaves: SEGMENT}`."""
    mapping = document.mapping(node, "on", "ENTERS", "LEAVES")
    if "enters" in mapping and "leaves" in mapping:
        message = "a source takes only one of `enters` and `leaves`"
        raise Problem(mapping.place("leaves"), "conflict", message, "list two sources")
    way = "enters" if "enters" in mapping else "leaves"
    segment = mapping.required(way, lambda n: values.identifier(n, "a segment's name"), "")
    if segment:
        document.references.segments.append((segment, node.items[way].index))
    return SegmentChange(segment, way == "enters")


def read_window(node: Node, *, ever: bool) -> shapes.Window | None:
    """`within`: a duration or a calendar window; None for `ever`, which only metrics may have."""
    if isinstance(node, ScalarNode) and node.text == "ever":
        if ever:
            return None
        raise Problem(node.index, "invalid-window", "within: `ever` is for metrics only")
    window = values.shape(node, "within", "invalid-window", shapes.window)
    if isinstance(window, shapes.Rolling) and window.ms > shapes.MAX_DURATION_MS:
        message = f"within is longer than {shapes.MAX_DURATION_DAYS} days"
        raise Problem(node.index, "invalid-duration", message)
    return window


def read_measures(
    document: DocumentReader, mapping: MappingReader, roots: tuple[str, ...], types: tuple[str, ...]
) -> tuple[Condition | None, Condition | None]:
    """`sum` and `distinct`, evaluated for each arriving event of one of `types`."""

    def measure(key: str, kind: Kind) -> Condition | None:
        compiled = document.expressions.compile
        return mapping.optional(key, lambda n: compiled(n, key, kind, roots, arriving=True, events=types), None)

    return measure("sum", "number"), measure("distinct", "value")


def _lines(mapping: MappingReader, *, whole: bool) -> tuple[bool, float, float]:
    """Whether it falls, its line, and where it is armed again."""
    ways = [key for key in ("reaches", "falls_below") if key in mapping]
    if len(ways) != 1:
        hint = "remove one of the two" if ways else "as in reaches: 3"
        raise Problem(
            mapping.node.index, "conflict", "a crossing takes exactly one of `reaches` and `falls_below`", hint
        )
    falls = ways[0] == "falls_below"
    line = mapping.required(ways[0], lambda n: _line(n, ways[0], whole=whole), 1.0)
    rearm = mapping.optional("rearm", lambda n: _line(n, "rearm", whole=whole), line)
    if rearm < line if falls else rearm > line:
        side = "at or above" if falls else "at or below"
        raise Problem(mapping.place("rearm"), "invalid-value", f"rearm must be {side} the line of {number_text(line)}")
    return falls, line, rearm


def _line(node: Node, what: str, *, whole: bool) -> float:
    return float(values.whole(node, what, 1, EXACT)) if whole else values.number(node, what, LEAST, MOST)
