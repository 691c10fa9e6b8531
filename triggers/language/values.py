"""Single values of rule files: texts, names, words, numbers, durations. Each raises Problem where a value is wrong."""

import re
from collections.abc import Callable, Collection
from typing import TypeVar

from schemas.numbers import bounds_text
from schemas.types import NAME
from schemas.wording import nearest, quoted
from triggers.cel.characters import look_alike, named, retype
from triggers.language.diagnostics import Problem, Report
from triggers.language.scalars import IDENTIFIER, MAX_TEXT
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode
from triggers.measures import shapes

T = TypeVar("T")
_NAME, _IDENTIFIER = re.compile(NAME), re.compile(IDENTIFIER)


def wrong(node: Node, what: str, wanted: str, hint: str = "") -> Problem:
    """The problem of a value that has another shape than `wanted`."""
    match node:
        case MappingNode():
            found = "a mapping"
        case SequenceNode():
            found = "a list"
        case ScalarNode():
            found = quoted(node.text) if node.text else "a single value"
    return Problem(node.index, "wrong-type", f"{what} takes {wanted}, not {found}", hint)


def plain_hint(value: str, hint: str) -> str:
    """The hint; if the value has a look-alike character, which one and what to type instead."""
    at = look_alike(value)
    return hint if at is None else f"it contains {named(value[at])}; {retype(value[at])}"


def text(node: Node, what: str) -> str:
    """A text of bounded length."""
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
        raise wrong(node, what, "a text")
    if len(node.value) > MAX_TEXT:
        raise Problem(node.index, "invalid-value", f"{what} has more than {MAX_TEXT} characters")
    return node.value


def flag(node: Node, what: str) -> bool:
    """True or false."""
    if not isinstance(node, ScalarNode) or not isinstance(node.value, bool):
        raise wrong(node, what, "true or false")
    return node.value


def name(node: Node, what: str) -> str:
    """A name of a thing on the wire: a letter, then letters, digits and _ . : / -"""
    value = text(node, what)
    if not _NAME.fullmatch(value):
        hint = plain_hint(value, _name_hint(value))
        raise Problem(node.index, "invalid-name", f"{quoted(value)} cannot be {what}", hint)
    return value


def _name_hint(value: str) -> str:
    form = "a letter, then up to 127 letters, digits, or _ . : / -"
    parts = [part for part in re.split(r"\s*,\s*|\s+(?:or|OR)\s+|\s*\|+\s*", value) if part]
    if len(parts) > 1 and all(map(_NAME.fullmatch, parts)):
        return f"several are a list, as in [{', '.join(parts)}]"
    return f"{form}; no blanks" if " " in value.strip() else form


def is_identifier(value: str) -> bool:
    """Whether expressions can use the text as a name."""
    return _IDENTIFIER.fullmatch(value) is not None


def identifier(node: Node, what: str) -> str:
    """A name that expressions use: letters, digits and underscores."""
    value = text(node, what)
    if not is_identifier(value):
        hint = plain_hint(value, "letters, digits and underscores, not beginning with a digit")
        raise Problem(node.index, "invalid-name", f"{quoted(value)} cannot be {what}", hint)
    return value


def choice(node: Node, what: str, allowed: Collection[str], later: Collection[str] = ()) -> str:
    """One of the words that are allowed; those of a `later` version are named as such."""
    value = text(node, what)
    if value in later:
        raise Problem(node.index, "not-yet", f"{what} `{value}` is not yet supported", nearest("", allowed))
    if value not in allowed:
        hint = plain_hint(value, nearest(value, allowed))
        raise Problem(node.index, "invalid-value", f"unknown {what} {quoted(value)}", hint)
    return value


def number(node: Node, what: str, low: float, high: float) -> float:
    """A number within bounds, both included."""
    if not isinstance(node, ScalarNode) or node.value.__class__ not in (int, float):
        raise wrong(node, what, "a number")
    value = float(node.value)
    if not low <= value <= high:
        raise Problem(node.index, "invalid-value", f"{what} must be {bounds_text(low, high)}")
    return value


def whole(node: Node, what: str, low: float, high: float) -> int:
    """A whole number within bounds, both included."""
    value = number(node, what, low, high)
    if value != int(value):
        raise Problem(node.index, "invalid-value", f"{what} must be a whole number")
    return int(value)


def shape(node: Node, what: str, code: str, parse: Callable[[str], T]) -> T:
    """A text of one of the shared shapes; `code` is the diagnostic of a wrong one."""
    if not isinstance(node, ScalarNode):
        raise wrong(node, what, "a single value")
    try:
        return parse(node.text)
    except shapes.ShapeError as error:
        raise Problem(node.index, code, f"{what}: {error}", plain_hint(node.text, error.hint)) from None


def duration(node: Node, what: str, *, zero: bool = False) -> int:
    """A duration in milliseconds, of bounded length."""
    ms = shape(node, what, "invalid-duration", shapes.duration)
    if ms > shapes.MAX_DURATION_MS:
        raise Problem(node.index, "invalid-duration", f"{what} is longer than {shapes.MAX_DURATION_DAYS} days")
    if ms == 0 and not zero:
        raise Problem(node.index, "invalid-duration", f"{what} must be longer than 0s")
    return ms


def percent(node: Node, what: str) -> float:
    """`N%` as a number."""
    return shape(node, what, "invalid-percent", shapes.percent)


def several(report: Report, node: Node, parse: Callable[[Node], T | None]) -> tuple[T, ...]:
    """One value or a list of them; wrong items are reported and left out."""
    items = node.items if isinstance(node, SequenceNode) else [node]
    if not items:
        report.add(node.index, "invalid-value", "the list is empty", "remove the key")
    found: list[T | None] = [report.attempt(lambda item=item: parse(item), None) for item in items]  # type: ignore[misc]
    return tuple(value for value in found if value is not None)


def mapping_items(node: Node, what: str, example: str = "") -> list[tuple[str, ScalarNode, Node]]:
    """A mapping's keys, their places and their values."""
    if not isinstance(node, MappingNode):
        raise wrong(node, what, "a mapping of keys to values", example and f"as in {example}")
    return [(key, node.keys[key], value) for key, value in node.items.items()]
