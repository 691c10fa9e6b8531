"""Reading a mapping key by key: wrong keys and wrong values become diagnostics, and reading goes on."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

from schemas.numbers import number_text
from schemas.wording import nearest, quoted
from triggers.cel.characters import look_alike, named, retype
from triggers.cel.conditions import Condition, Kind, compile_condition, unguarded_negations
from triggers.cel.tree import SyntaxProblem
from triggers.cel.writer import Scope
from triggers.language.diagnostics import Problem, Report
from triggers.language.keys_of_other_tools import key_hint
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode
from triggers.measures import shapes

T = TypeVar("T")
D = TypeVar("D")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MAX_TEXT = 4_000


@dataclass(slots=True)
class ExpressionUse:
    """One expression and where it stands, for checks that need the whole set."""

    condition: Condition
    node: ScalarNode
    arriving: bool
    """Whether `event` is the one that arrives, and not the one that began the occurrence."""
    events: tuple[str, ...] = ()
    """The types that the arriving event may have; none where `event` is the entry event."""


@dataclass(slots=True)
class References:
    """What a document names and another must define: (name, index in the file)."""

    scores: list[tuple[str, int]] = field(default_factory=list)
    metrics: list[tuple[str, str, int]] = field(default_factory=list)
    """(name, field, index)."""
    segments: list[tuple[str, int]] = field(default_factory=list)
    templates: list[tuple[str, int]] = field(default_factory=list)
    policies: list[tuple[str, int]] = field(default_factory=list)
    events: list[tuple[str, int]] = field(default_factory=list)
    """Events that the document listens to."""
    case_events: list[tuple[str, int]] = field(default_factory=list)
    """Events that its cases give or expect."""
    same: list[tuple[tuple[str, ...], str, int]] = field(default_factory=list)
    """Fields that two events share: the arriving event's types, the field, its index."""
    attributes: list[tuple[str, int]] = field(default_factory=list)
    """Attributes of the users of its cases."""
    given: list[tuple[str, MappingNode]] = field(default_factory=list)
    """The events of cases: type and properties as written."""


class Reader:
    """One mapping being read. Unknown keys are told at once, with the nearest known one, which is then not missed."""

    def __init__(
        self,
        report: Report,
        node: Node,
        what: str,
        keys: Collection[str],
        later: Collection[str] = (),
        example: str = "",
    ) -> None:
        if not isinstance(node, MappingNode):
            raise wrong(node, what, "a mapping of keys to values", example and f"as in {example}")
        self.report = report
        self.node = node
        self.what = what
        self._example = example
        self._hints: set[str] = set()
        self.unread = not (set(keys) | set(later)).intersection(node.items)
        """Whether it has no key that is known, so that what is missing is what the unknown ones were meant to say."""
        for key, place in node.keys.items():
            if key in later:
                report.add(place.index, "not-yet", f"`{key}` in {what} is not yet supported", "take it out for now")
            elif key not in keys:
                hint = key_hint(what, key, keys)
                report.add(place.index, "unknown-key", f"{quoted(key)} is no key of {what}", hint)
                self._hints.add(hint)

    def __contains__(self, key: str) -> bool:
        return key in self.node.items

    def misspelt(self, key: str) -> bool:
        """Whether an unknown key was told to mean this one."""
        return nearest(key, [key]) in self._hints

    def place(self, key: str) -> int:
        """The index of a key that is there."""
        return self.node.keys[key].index

    def optional(self, key: str, parse: Callable[[Node], T], default: D) -> T | D:
        """The key's value, or the default where it is not written or is wrong (which is then told)."""
        node = self.node.items.get(key)
        if node is None:
            return default
        return guarded(self.report, lambda: parse(node), default)

    def required(self, key: str, parse: Callable[[Node], T], default: D, example: str = "") -> T | D:
        """As `optional`, but a missing key is told, with how it is written, unless a key in its place was told."""
        if key not in self.node.items and not self.misspelt(key) and not (self.unread and self._hints):
            shown = example or self._example
            hint = f"as in {shown}" if shown else ""
            self.report.add(self.node.index, "missing-key", f"{self.what} needs `{key}`", hint)
        return self.optional(key, parse, default)


def guarded(report: Report, read: Callable[[], T], default: D) -> T | D:
    """What `read` gives, or the default where it raises a Problem, which is told."""
    try:
        return read()
    except Problem as problem:
        report.add(problem.index, problem.code, problem.message, problem.hint)
        return default


def wrong(node: Node, what: str, wanted: str, hint: str = "") -> Problem:
    """The problem of a value that has another shape than `wanted`."""
    kind = (
        "a mapping"
        if isinstance(node, MappingNode)
        else "a list"
        if isinstance(node, SequenceNode)
        else "a single value"
    )
    if isinstance(node, ScalarNode) and node.text:
        kind = quoted(node.text)
    return Problem(node.index, "wrong-type", f"{what} takes {wanted}, not {kind}", hint)


def plain_hint(value: str, hint: str) -> str:
    """The hint; or, where a look-alike stands in the value, which one and what to type instead."""
    at = look_alike(value)
    return hint if at is None else f"{named(value[at])} stands in it: {retype(value[at])}"


def text(node: Node, what: str) -> str:
    """A text of bounded length."""
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
        raise wrong(node, what, "a text")
    if len(node.value) > _MAX_TEXT:
        raise Problem(node.index, "invalid-value", f"{what} has more than {_MAX_TEXT} characters")
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


def identifier(node: Node, what: str) -> str:
    """A name that expressions use: letters, digits and underscores."""
    value = text(node, what)
    if not _IDENTIFIER.fullmatch(value):
        hint = plain_hint(value, "letters, digits and underscores, not beginning with a digit")
        raise Problem(node.index, "invalid-name", f"{quoted(value)} cannot be {what}", hint)
    return value


def choice(node: Node, what: str, allowed: Collection[str], later: Collection[str] = ()) -> str:
    """One of the words that are allowed."""
    value = text(node, what)
    if value in later:
        raise Problem(node.index, "not-yet", f"{what} `{value}` is not yet supported", nearest("", allowed))
    if value not in allowed:
        hint = plain_hint(value, nearest(value, allowed))
        raise Problem(node.index, "invalid-value", f"{quoted(value)} is no {what}", hint)
    return value


def number(node: Node, what: str, low: float, high: float) -> float:
    """A number within bounds, both included."""
    if not isinstance(node, ScalarNode) or node.value.__class__ not in (int, float):
        raise wrong(node, what, "a number")
    value = float(node.value)
    if not low <= value <= high:
        bounds = f"from {number_text(low)} to {number_text(high)}" if high < 1e12 else f"{number_text(low)} or more"
        raise Problem(node.index, "invalid-value", f"{what} must be {bounds}")
    return value


def whole(node: Node, what: str, low: int, high: int) -> int:
    """A whole number within bounds, both included."""
    value = number(node, what, low, high)
    if value != int(value):
        raise Problem(node.index, "invalid-value", f"{what} must be a whole number")
    return int(value)


def shape(node: Node, what: str, code: str, parse: Callable[[str], T]) -> T:
    """A text of one of the shared shapes; `code` is what a wrong one is called."""
    if not isinstance(node, ScalarNode):
        raise wrong(node, what, "a single value")
    try:
        return parse(node.text)
    except shapes.ShapeError as error:
        raise Problem(node.index, code, f"{what}: {error}", plain_hint(node.text, error.hint)) from None


def duration(node: Node, what: str, *, zero: bool = False) -> int:
    """A duration in milliseconds, at most 400 days."""
    ms = shape(node, what, "invalid-duration", shapes.duration)
    if ms > shapes.MAX_DURATION_MS:
        raise Problem(node.index, "invalid-duration", f"{what} is longer than 400 days")
    if ms == 0 and not zero:
        raise Problem(node.index, "invalid-duration", f"{what} must be longer than nothing")
    return ms


def percent(node: Node, what: str) -> float:
    """`N%` as a number."""
    return shape(node, what, "invalid-percent", shapes.percent)


def several(report: Report, node: Node, parse: Callable[[Node], T | None]) -> tuple[T, ...]:
    """One value or a list of them; wrong items are told and left out."""
    items = node.items if isinstance(node, SequenceNode) else [node]
    if not items:
        report.add(node.index, "invalid-value", "an empty list says nothing", "drop the key")
    found: list[T | None] = [guarded(report, lambda item=item: parse(item), None) for item in items]  # type: ignore[misc]
    return tuple(value for value in found if value is not None)


def _expression_hint(node: ScalarNode, problem: SyntaxProblem) -> str:
    """The problem's hint, as it fits into the quoting of the value."""
    twice = f"""'"{node.text}"'"""
    if twice in problem.hint:
        return problem.hint
    if _IDENTIFIER.fullmatch(node.text):  # quotes alone would be YAML's, and say nothing
        return problem.hint.replace(f'"{node.text}"', twice)
    return problem.hint.replace('"', "'") if node.style == '"' else problem.hint


class Expressions:
    """Compiles the expressions of one document, each problem pointing into the expression."""

    def __init__(self, report: Report, references: References) -> None:
        self.report = report
        self.references = references
        self.uses: list[ExpressionUse] = []

    def compile(
        self,
        node: Node,
        what: str,
        kind: Kind,
        roots: Collection[str],
        *,
        arriving: bool = False,
        events: tuple[str, ...] = (),
    ) -> Condition:
        """The expression of a scalar; raises Problem at the place inside it."""
        if not isinstance(node, ScalarNode) or (node.style in ("'", '"') and not node.text):
            raise wrong(node, what, "an expression", "wrap it in single quotes")
        try:
            condition = compile_condition(node.text, kind, Scope(frozenset(roots)))
        except SyntaxProblem as problem:
            at = node.place_of(problem.offset)
            hint = _expression_hint(node, problem)
            if kind == "number" and _IDENTIFIER.fullmatch(node.text) and problem.code == "cel-name":
                hint = f"write a number, as in 1, or whose it is, as in `event.{node.text}`"
            raise Problem(at, problem.code, f"{what}: {problem.message}", hint) from None
        code = condition.code
        self.references.scores += [(score, node.index) for score in sorted(code.scores)]
        self.references.metrics += [(*metric, node.index) for metric in sorted(code.metrics)]
        self.references.segments += [(segment, node.index) for segment in sorted(code.segments)]
        self.uses.append(ExpressionUse(condition, node, arriving, events))
        for path, offset in unguarded_negations(node.text):
            hint = f"where the field may be missing: !has({path}) || !{path}"
            message = f"{what}: without `{path}` this is an error, not true"
            self.report.add(node.place_of(offset), "negated-optional", message, hint)
        return condition


def mapping_items(node: Node, what: str, example: str = "") -> list[tuple[str, ScalarNode, Node]]:
    """A mapping's keys, their places and their values."""
    if not isinstance(node, MappingNode):
        raise wrong(node, what, "a mapping of keys to values", example and f"as in {example}")
    return [(key, node.keys[key], value) for key, value in node.items.items()]
