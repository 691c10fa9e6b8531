"""Names in expressions: the code that reads `event.total`, `score.engagement` or a bound variable."""

import difflib
from typing import cast

from schemas.wording import nearest, quoted
from triggers.cel import hints
from triggers.cel import types as table
from triggers.cel.tree import Call, Expr, Index, Literal, Name, Select, SyntaxProblem
from triggers.cel.types import Code, event_field, has_event_field
from triggers.cel.values import TYPES
from triggers.cel.writer import Writer

_METRIC_HINT = "name a field: .count .sum .distinct .first .last"


def name(w: Writer, node: Name) -> Code:
    """A name by itself."""
    found = _resolved(w, node)
    if found is not None:
        return found
    if w.scope.strict:
        return Code(f"unknown({f'name {quoted(node.name)}'!r})", "dyn")
    if _root(w, node) == "now":
        return Code("moment(c.now_ms)", "timestamp")
    hint = f"name a field: {node.name}.…"
    raise SyntaxProblem("cel-name", f"`{node.name}` cannot be used as a value", node.offset, hint)


def select(w: Writer, node: Select) -> Code:
    """A field of a name or of a value."""
    found = _resolved(w, node) or _known_field(w, node)
    if found is not None:
        return found
    operand = w.code(node.operand)
    w.require(operand, ("map",), node.offset, f".{node.field}")
    return Code(f"field({operand.text}, {node.field!r})", "dyn")


def refuse_field_in_brackets(w: Writer, node: Index) -> None:
    """Raises SyntaxProblem for `event["total"]`: fields of these names need a dot."""
    if w.scope.strict or not _is_root(w, node.operand):
        return
    root = _root(w, cast(Name, node.operand))
    field = node.index.value if isinstance(node.index, Literal) else None
    plain = field if isinstance(field, str) and field.isidentifier() and field.isascii() else ""
    hint = f"write {root}.{plain}" if plain else f"as in {root}.plan"
    raise SyntaxProblem("cel-name", f"`{root}[…]`: write fields of `{root}` after a dot", node.operand.offset, hint)


def has(w: Writer, node: Call) -> Code:
    """`has(operand.field)`."""
    target = node.arguments[0] if len(node.arguments) == 1 else None
    if not isinstance(target, Select):
        raise SyntaxProblem("cel-type", "has() takes one field", node.offset, "as in has(event.total)")
    if not w.scope.strict:
        if _is_root(w, target.operand):
            return _has_root(w, _root(w, cast(Name, target.operand)), target)
        if event := _occurrence_event(w, target.operand):
            return _has_occurrence_event(event, target)
        if _is_metric(w, target.operand):
            return Code(f"({_metric_read(w, target)} is not None)", "bool")
    operand = w.code(target.operand)
    w.require(operand, ("map",), node.offset, "has()")
    return Code(f"has_field({operand.text}, {target.field!r})", "bool")


def _dotted(node: Expr) -> str:
    """`a.b.c` as written, or an empty text for anything other than names and dots."""
    parts: list[str] = []
    while isinstance(node, Select):
        parts.append(node.field)
        node = node.operand
    return ".".join([node.name, *reversed(parts)]) if isinstance(node, Name) else ""


def _resolved(w: Writer, node: Name | Select) -> Code | None:
    """A macro's variable, a bound variable or a type; for `a.b.c` the longest name is tried first."""
    path = _dotted(node)
    if path in w.variables:
        return w.variables[path]
    if not path or path.partition(".")[0] in w.variables:
        return None
    path = path.removeprefix(".")
    if w.scope.variables is not None and path in w.scope.variables:
        return Code(f"c[{path!r}]", "dyn")
    return Code(f"TYPES[{path!r}]", "type") if path in TYPES else None


def _root(w: Writer, node: Name) -> str:
    if node.name not in table.ROOTS:
        raise SyntaxProblem("cel-name", f"{quoted(node.name)} is not known", node.offset, _root_meant(w, node.name))
    if node.name not in w.scope.roots:
        hint = f"known here: {', '.join(sorted(w.scope.roots))}"
        raise SyntaxProblem("cel-name", f"`{node.name}` cannot be used here", node.offset, hint)
    w.reads.roots.add(node.name)
    return node.name


def _root_meant(w: Writer, name: str) -> str:
    """A suggestion for a constant of another language, a misspelt root, or a field without its root."""
    if constant := hints.constant(name):
        return constant
    if difflib.get_close_matches(name, table.ROOTS, n=1, cutoff=0.75):
        return nearest(name, table.ROOTS)
    fields = [quoted(f"{root}.{name}") for root in ("event", "user", "score", "segment") if root in w.scope.roots]
    if not fields:
        return nearest(name, table.ROOTS)
    return f'write whose it is: {", ".join(fields)}; a text is in quotes: "{name[:60]}"'


def _is_root(w: Writer, node: Expr) -> bool:
    return isinstance(node, Name) and node.name != "now" and _resolved(w, node) is None


def _known_field(w: Writer, node: Select) -> Code | None:
    """A field of one of the root names of rules, or None for a field of a value."""
    if w.scope.strict:
        return None
    if event := _occurrence_event(w, node.operand):
        if event == "matched":
            _note_event_field(w.reads.matched_fields, node)
        return event_field(table.OCCURRENCE_EVENTS[event], node.field)
    if _is_metric(w, node.operand):
        return _metric(w, node)
    if not _is_root(w, node.operand):
        return None
    match _root(w, cast(Name, node.operand)):
        case "event":
            _note_event_field(w.reads.event_fields, node)
            return event_field("c.event", node.field)
        case "user":
            if node.field in table.USER:
                return Code(f"c.user.{node.field}", table.USER[node.field])
            return Code(f"c.user.attributes[{node.field!r}]", "dyn")
        case "score":
            return _score(w, node)
        case "segment":
            w.reads.segments.add(node.field)
            return Code(f"c.segment({node.field!r})", "bool")
        case "metric":
            message = f"`metric.{node.field}` cannot be used as a value"
            raise SyntaxProblem("cel-name", message, node.offset, _METRIC_HINT)
        case _:
            return _occurrence(w, node)


def _is_field_of(w: Writer, node: Expr, root: str) -> bool:
    return isinstance(node, Select) and _is_root(w, node.operand) and _root(w, cast(Name, node.operand)) == root


def _note_event_field(read: dict[str, int], node: Select) -> None:
    if node.field not in table.EVENT or node.field == "properties":
        read.setdefault(node.field, node.offset)


def _occurrence_event(w: Writer, node: Expr) -> str:
    """Which event of the occurrence the node is: `event` or `matched`; empty for anything else."""
    if not isinstance(node, Select) or node.field not in table.OCCURRENCE_EVENTS:
        return ""
    if not _is_field_of(w, node, "occurrence"):
        return ""
    if node.field == "matched":
        w.reads.occurrence.setdefault("matched", node.offset)
    return node.field


def _has_occurrence_event(event: str, target: Select) -> Code:
    """`has(occurrence.event.total)`; of `matched`, false if there is none yet."""
    found = has_event_field(table.OCCURRENCE_EVENTS[event], target.field)
    return found if event == "event" else Code(f"(c.occurrence.has_match and {found.text})", "bool")


def _is_metric(w: Writer, node: Expr) -> bool:
    return _is_field_of(w, node, "metric")


def _metric(w: Writer, node: Select) -> Code:
    read, kind = _metric_read(w, node), table.METRIC[node.field]
    text = f"reading({read}, {node.field!r})"
    return Code(f"moment({text})" if kind == "timestamp" else text, kind)


def _metric_read(w: Writer, node: Select) -> str:
    """The call that returns a metric's field, or None if the metric has no such field."""
    metric = cast(Select, node.operand).field
    if node.field not in table.METRIC:
        hint = nearest(node.field, table.METRIC)
        raise SyntaxProblem("cel-name", f"`metric.{metric}.{node.field}` is not known", node.offset, hint)
    w.reads.metrics.add((metric, node.field))
    return f"c.metric({metric!r}, {node.field!r})"


def _score(w: Writer, node: Select) -> Code:
    if w.scope.scores is not None and node.field not in w.scope.scores:
        hint = nearest(node.field, w.scope.scores)
        raise SyntaxProblem("unknown-score", f"there is no score `{node.field}`", node.offset, hint)
    w.reads.scores.add(node.field)
    return Code(f"c.score({node.field!r})", "double")


def _occurrence(w: Writer, node: Select) -> Code:
    if node.field in table.OCCURRENCE_EVENTS:
        message = f"`occurrence.{node.field}` cannot be used as a value"
        raise SyntaxProblem("cel-name", message, node.offset, "name a field")
    if node.field not in table.OCCURRENCE:
        hint = nearest(node.field, [*table.OCCURRENCE, *table.OCCURRENCE_EVENTS])
        raise SyntaxProblem("cel-name", f"`occurrence.{node.field}` is not known", node.offset, hint)
    if node.field == "events":
        w.reads.occurrence.setdefault("events", node.offset)
        return Code("c.entries()", table.OCCURRENCE["events"])
    read = f"c.occurrence.{node.field}"
    return Code(f"moment({read})" if node.field == "entered_at" else read, table.OCCURRENCE[node.field])


def _has_root(w: Writer, root: str, target: Select) -> Code:
    if root == "event":
        return has_event_field("c.event", target.field)
    if root == "user":
        if target.field in table.USER:
            return Code(f"(c.user.{target.field} is not None)", "bool")
        return Code(f"({target.field!r} in c.user.attributes)", "bool")
    if _occurrence_event(w, target) == "matched":
        return Code("c.occurrence.has_match", "bool")
    w.code(target)
    return Code("True", "bool")
