"""What crosses a line, as `on` has it: a score, or what happens within a window."""

from schemas.numbers import number_text
from triggers.cel.conditions import Condition, Kind
from triggers.language import keys, reader
from triggers.language.diagnostics import Problem
from triggers.language.parts import ENTRY, Parts
from triggers.language.reader import Reader
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode
from triggers.measures import shapes
from triggers.measures.windows import EXACT, Measure
from triggers.rules.rule import Crossing, Metric, SegmentChange, WindowCrossing

LEVEL_KEYS = keys.keys("LEVEL", without=keys.keys("EVENT"))
LEAST, MOST = 1e-9, 1e12
"""The lines that a score or a sum can be compared with."""


def read_score_crossing(parts: Parts, node: MappingNode) -> Crossing:
    """`{score, reaches or falls_below, rearm}`."""
    read = Reader(parts.report, node, "on", keys.keys("SCORE_LEVEL"))
    score = read.required("score", lambda n: reader.identifier(n, "a score's name"), "")
    parts.references.scores.append((score, node.items["score"].index))
    return Crossing(score, *_lines(read, whole=False))


def read_window_crossing(parts: Parts, node: MappingNode) -> WindowCrossing:
    """`{event, where, same, within, sum or distinct, reaches or falls_below, rearm}`, or with `inactive: D`."""
    pattern = parts.pattern(node, "on", ENTRY, LEVEL_KEYS, same=True)
    read = Reader(parts.report, node, "on", tuple(node.items))  # what is unknown, the pattern has told
    if "inactive" in read:
        for key in LEVEL_KEYS:
            if key != "inactive" and key in read:
                hint = "inactive: D is short for within: D, falls_below: 1"
                raise Problem(read.place(key), "conflict", f"`{key}` does not go with `inactive`", hint)
        window_ms = read.required("inactive", lambda n: reader.duration(n, "inactive"), 1)
        return WindowCrossing(Metric("", pattern, shapes.Rolling(window_ms)), "count", falls=True, line=1, rearm=1)
    if "sum" in read and "distinct" in read:
        raise Problem(read.place("distinct"), "conflict", "a crossing has one of `sum` and `distinct`")
    measure: Measure = "sum" if "sum" in read else "distinct" if "distinct" in read else "count"
    window = read.required("within", lambda n: read_window(n, ever=False), shapes.Rolling(1))
    metric = Metric("", pattern, window, *read_measures(parts, read, ENTRY, pattern.types))
    return WindowCrossing(metric, measure, *_lines(read, whole=measure != "sum"))


def read_segment_change(parts: Parts, node: MappingNode) -> SegmentChange:
    """`{enters: SEGMENT}` or `{leaves: SEGMENT}`."""
    read = Reader(parts.report, node, "on", keys.keys("ENTERS", "LEAVES"))
    if "enters" in read and "leaves" in read:
        raise Problem(read.place("leaves"), "conflict", "a source has one of `enters` and `leaves`", "list two sources")
    way = "enters" if "enters" in read else "leaves"
    segment = read.required(way, lambda n: reader.identifier(n, "a segment's name"), "")
    if segment:
        parts.references.segments.append((segment, node.items[way].index))
    return SegmentChange(segment, way == "enters")


def read_window(node: Node, *, ever: bool) -> shapes.Window | None:
    """`within`: a duration or a calendar window; `ever`, where it may stand, is None."""
    if isinstance(node, ScalarNode) and node.text == "ever":
        if ever:
            return None
        raise Problem(node.index, "invalid-window", "within: `ever` is for metrics only")
    window = reader.shape(node, "within", "invalid-window", shapes.window)
    if isinstance(window, shapes.Rolling) and window.ms > shapes.MAX_DURATION_MS:
        raise Problem(node.index, "invalid-duration", "within is longer than 400 days")
    return window


def read_measures(
    parts: Parts, read: Reader, roots: tuple[str, ...], types: tuple[str, ...]
) -> tuple[Condition | None, Condition | None]:
    """`sum` and `distinct`, asked of the event of one of `types` that arrives."""

    def measure(key: str, kind: Kind) -> Condition | None:
        compiled = parts.expressions.compile
        return read.optional(key, lambda n: compiled(n, key, kind, roots, arriving=True, events=types), None)

    return measure("sum", "number"), measure("distinct", "value")


def _lines(read: Reader, *, whole: bool) -> tuple[bool, float, float]:
    """Whether it falls, its line, and where it is armed again."""
    ways = [key for key in ("reaches", "falls_below") if key in read]
    if len(ways) != 1:
        raise Problem(read.node.index, "conflict", "a crossing has exactly one of reaches and falls_below")
    falls = ways[0] == "falls_below"
    line = read.required(ways[0], lambda n: _line(n, ways[0], whole=whole), 1.0)
    rearm = read.optional("rearm", lambda n: _line(n, "rearm", whole=whole), line)
    if rearm < line if falls else rearm > line:
        side = "at or above" if falls else "at or below"
        raise Problem(read.place("rearm"), "invalid-value", f"rearm must be {side} the line of {number_text(line)}")
    return falls, line, rearm


def _line(node: Node, what: str, *, whole: bool) -> float:
    return float(reader.whole(node, what, 1, EXACT)) if whole else reader.number(node, what, LEAST, MOST)
