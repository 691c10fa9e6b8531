"""Holds rules and cases against the event catalogue: events, properties and their types."""

from collections.abc import Sequence

from schemas.wording import nearest, quoted
from triggers.cel import syntax
from triggers.cel import tree as cel_tree
from triggers.language.catalogue_document import Catalogue
from triggers.language.diagnostics import Report
from triggers.language.expressions import ExpressionUse, References
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode

_ORDERED = frozenset({"==", "!=", "<", "<=", ">", ">="})


def check_events(
    catalogue: Catalogue,
    report: Report,
    references: References,
    uses: Sequence[ExpressionUse],
    entry: tuple[str, ...],
    awaited: tuple[str, ...],
) -> None:
    """Reports events and properties of one document that are not in the catalogue.

    `entry` are the types of event that begin the rule, and `awaited` those that its steps wait for; empty if something
    else begins it, if they wait for none, or if the document is not a rule.
    """
    for name, index in (*references.events, *references.case_events):
        if name not in catalogue.events:
            hint = nearest(name, catalogue.events)
            report.add(index, "unknown-event", f"event {quoted(name)} is not in the catalogue", hint)
    for types, name, index in references.same:
        for group in (types, entry):
            _check_property(catalogue, report, group, name, index)
    for use in uses:
        types = use.events if use.arriving or use.events else entry
        for name, offset in use.condition.code.event_fields.items():
            _check_property(catalogue, report, types, name, use.node.place_of(offset))
        for name, offset in use.condition.code.matched_fields.items():
            _check_property(catalogue, report, awaited, name, use.node.place_of(offset))
        _check_comparisons(catalogue, report, use, types)
    for event, properties in references.given:
        _check_given(catalogue, report, event, properties)


def _check_property(catalogue: Catalogue, report: Report, types: tuple[str, ...], name: str, index: int) -> None:
    if not types or not all(each in catalogue.events for each in types) or catalogue.types_of(types, name):
        return
    known = sorted({key for each in types for key in catalogue.events[each]})
    message = f"{_named(types)} has no property {quoted(name)}"
    report.add(index, "unknown-property", message, nearest(name, known))


def _check_comparisons(catalogue: Catalogue, report: Report, use: ExpressionUse, types: tuple[str, ...]) -> None:
    """Comparisons of a property with a literal of another type, which never hold or always fail."""
    for node in cel_tree.walk(syntax.parse(use.node.text)):
        if not isinstance(node, cel_tree.Binary) or node.operator not in _ORDERED:
            continue
        for side, other in ((node.left, node.right), (node.right, node.left)):
            name, wanted = _property(side), _literal_type(other)
            found = catalogue.types_of(types, name) if name and wanted else set()
            if found and not found & {wanted, "any"} and not (wanted == "text" and "time" in found):
                at = use.node.place_of(side.offset)
                message = f"`event.{name}` is {_article(found)}, and is compared with a {wanted}"
                report.add(at, "property-type", message, "string() and double() turn one into the other")


def _property(node: cel_tree.Expr) -> str:
    if isinstance(node, cel_tree.Select) and isinstance(node.operand, cel_tree.Name):
        return node.field if node.operand.name == "event" else ""
    return ""


def _literal_type(node: cel_tree.Expr) -> str:
    """The catalogue's word for a literal's type; empty for another node and for null."""
    if not isinstance(node, cel_tree.Literal):
        return ""
    if isinstance(node.value, bool):
        return "boolean"
    if isinstance(node.value, int | float):
        return "number"
    return "text" if isinstance(node.value, str) else ""


def _check_given(catalogue: Catalogue, report: Report, event: str, values: MappingNode) -> None:
    if event not in catalogue.events:
        return
    known = catalogue.events[event]
    for key, place in values.keys.items():
        if key not in known:
            message = f"{_named((event,))} has no property {quoted(key)}"
            report.add(place.index, "unknown-property", message, nearest(key, known))
        elif not _fits(values.items[key], known[key]):
            message = f"{quoted(key)} of {quoted(event)} is {_article({known[key]})}"
            report.add(values.items[key].index, "property-type", message, "write the value as the event carries it")


def _fits(node: Node, kind: str) -> bool:
    if isinstance(node, SequenceNode | MappingNode):
        return kind in ("any", "list" if isinstance(node, SequenceNode) else "object")
    value = node.value if isinstance(node, ScalarNode) else None
    if value is None or kind == "any":
        return True
    written = "boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
    return written == ("text" if kind == "time" else kind)


def _named(types: tuple[str, ...]) -> str:
    return " and ".join(quoted(each) for each in types)


def _article(types: set[str]) -> str:
    return " or ".join(f"{'an' if each[0] in 'aeiou' else 'a'} {each}" for each in sorted(types))
