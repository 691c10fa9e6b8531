"""Conditions: the expressions of rules, compiled once, evaluated often.

`compile_condition` is the only entry point. The methods of a Condition evaluate it for a Context and raise
only EvaluationError.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, Protocol, cast

from msgspec import Struct

from schemas.numbers import whole
from triggers.cel.compiler import Compiled, compile_tree
from triggers.cel.hints import foreign
from triggers.cel.runtime import FAILURES, EvaluationError, MissingField, reason
from triggers.cel.syntax import parse
from triggers.cel.time import timestamp_text
from triggers.cel.tree import Call, Expr, Logic, Name, Select, SyntaxProblem, Ternary, Unary, conjuncts, walk
from triggers.cel.values import Timestamp
from triggers.cel.writer import Scope

Kind = Literal["truth", "number", "text", "moment", "value", "any"]
_TYPES: dict[str, tuple[str, ...]] = {
    "truth": ("bool",),
    "number": ("int", "double"),
    "text": ("string",),
    "moment": ("timestamp",),
    "value": ("bool", "int", "double", "string", "null", "list", "map", "timestamp"),
}
_WANTED = {
    "truth": "true or false",
    "number": "a number",
    "text": "a text",
    "moment": "a timestamp",
    "value": "a value that JSON has",
}


class EventLike(Protocol):
    """An event as expressions see it."""

    id: str
    type: str
    time_ms: int
    source: str
    properties: dict[str, Any]


class UserLike(Protocol):
    """A user as expressions see one."""

    id: str
    zone: str | None
    locale: str | None
    attributes: dict[str, Any]


class OccurrenceLike(Protocol):
    """A running occurrence as expressions see it."""

    id: str
    key: Any
    entered_at: int
    variant: str | None

    @property
    def event(self) -> EventLike: ...

    @property
    def matched(self) -> EventLike: ...

    @property
    def has_match(self) -> bool: ...

    @property
    def events(self) -> list[dict[str, Any]]: ...


def _nothing_counted(_: str, field: str) -> float | None:
    return 0.0 if field == "count" else None


def _nobody(_: str) -> bool:
    return False


class Context(Struct, eq=False):
    """What an expression is evaluated for, as of `now_ms`.

    `score` gives a score's value; `metric` a field of a metric: count, sum and distinct as numbers, first and last in
    milliseconds, or None if there is none; `segment` whether the user is in it.
    """

    event: EventLike
    user: UserLike
    occurrence: OccurrenceLike | None
    score: Callable[[str], float]
    now_ms: int
    metric: Callable[[str, str], float | None] = _nothing_counted
    segment: Callable[[str], bool] = _nobody
    _entries: list[dict[str, Any]] | None = None

    def entries(self) -> list[dict[str, Any]]:
        """`occurrence.events`, made at the first reading: a macro may read it for each item."""
        if self._entries is None:
            self._entries = cast(OccurrenceLike, self.occurrence).events
        return self._entries


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One compiled expression. Conditions with equal text mean the same."""

    text: str
    kind: Kind
    code: Compiled

    def _evaluate(self, context: Context) -> Any:
        try:
            return self.code.function(context)
        except FAILURES as error:
            missing = isinstance(error, KeyError | MissingField)
            raise (MissingField if missing else EvaluationError)(f"{reason(error)} in {self.text!r}") from None

    def holds(self, context: Context) -> bool:
        """Whether it is true; raises EvaluationError if it is neither true nor false."""
        value = self._evaluate(context)
        if value is True or value is False:
            return bool(value)
        raise EvaluationError(f"neither true nor false: {self.text!r}")

    def number(self, context: Context) -> float:
        """Its value, a finite number; raises EvaluationError."""
        value = self._evaluate(context)
        if value.__class__ not in (int, float) or not math.isfinite(value):
            raise EvaluationError(f"not a finite number: {self.text!r}")
        return float(value)

    def string(self, context: Context) -> str:
        """Its value, a text; raises EvaluationError."""
        value = self._evaluate(context)
        if not isinstance(value, str):
            raise EvaluationError(f"not a text: {self.text!r}")
        return value

    def moment(self, context: Context) -> int:
        """Its value, a timestamp, in milliseconds since the epoch, rounded down; raises EvaluationError."""
        value = self._evaluate(context)
        if value.__class__ is not Timestamp:
            raise EvaluationError(f"not a timestamp: {self.text!r}")
        return int(value) // 1_000_000

    def any(self, context: Context) -> Any:
        """Its value as a CEL value (`triggers.cel.values`); raises EvaluationError."""
        return self._evaluate(context)

    def value(self, context: Context) -> Any:
        """Its value as JSON, timestamps as RFC 3339 texts, whole numbers as integers; raises EvaluationError."""
        value = self._evaluate(context)
        try:
            return _as_json(value, [_MAX_VALUES])
        except EvaluationError as error:
            raise EvaluationError(f"{error} in {self.text!r}") from None


_SHORT = 60
"""The maximum number of characters of an expression that a hint repeats."""
_MAX_VALUES = 10_000
"""The maximum number of values in one result. Macros can build a result far larger than the memory it takes."""


def _as_json(value: Any, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise EvaluationError(f"more than {_MAX_VALUES} values")
    cls = value.__class__
    if cls is list:
        return [_as_json(item, left) for item in value]
    if cls is dict and all(key.__class__ is str for key in value):
        return {key: _as_json(item, left) for key, item in value.items()}
    if cls is Timestamp:
        return timestamp_text(value)
    if cls is float and math.isfinite(value):
        return whole(value)
    if cls is str or cls is bool or cls is int or value is None:
        return value
    raise EvaluationError("not a JSON value")


def compile_condition(text: str, kind: Kind, scope: Scope | None = None) -> Condition:
    """The condition; raises SyntaxProblem, and nothing else, for an invalid text."""
    try:
        tree = parse(text)
    except SyntaxProblem as problem:
        raise foreign(text, kind, problem) from None
    code = compile_tree(tree, scope or Scope())
    if code.type != "dyn" and kind != "any" and code.type not in _TYPES[kind]:
        compared = kind == "truth" and code.type in ("int", "double") and len(text) <= _SHORT
        hint = f"compare it, as in {text.strip()} >= 1" if compared else ""
        raise SyntaxProblem("cel-type", f"gives a {code.type} where {_WANTED[kind]} is needed", 0, hint)
    return Condition(text, kind, code)


def written_moments(condition: Condition) -> Condition:
    """The condition for a date: `timestamp(x)` as the value, or as a branch of `? :`, becomes x as written.

    A plain date in x has no instant that `timestamp` could give, and a timestamp would lose its offset.
    """
    tree = parse(condition.text)
    plain = _without_timestamp(tree)
    return condition if plain is tree else Condition(condition.text, condition.kind, compile_tree(plain, Scope()))


def _without_timestamp(node: Expr) -> Expr:
    match node:
        case Call(function="timestamp", receiver=None, arguments=(written,)):
            return written
        case Ternary(then=then, otherwise=otherwise):
            parts = _without_timestamp(then), _without_timestamp(otherwise)
            return node if parts == (then, otherwise) else replace(node, then=parts[0], otherwise=parts[1])
        case _:
            return node


def part_over(condition: Condition, names: frozenset[str]) -> Condition | None:
    """The part of a condition that reads only these names, or None. If this part is false, so is the condition.

    That is the condition itself, or those of the operands of its outermost `&&` which read nothing else.
    """
    return condition if condition.code.roots <= names else _part_over(condition.text, names)


@lru_cache(maxsize=4096)
def _part_over(text: str, names: frozenset[str]) -> Condition | None:
    tree = parse(text)
    if not isinstance(tree, Logic) or tree.operator != "&&":
        return None
    operands = tuple(each for each in conjuncts(tree) if compile_tree(each, Scope()).roots <= names)
    if not operands:
        return None
    part = replace(tree, operands=operands) if len(operands) > 1 else operands[0]
    return Condition(text, "truth", compile_tree(part, Scope()))


def unguarded_negations(text: str) -> list[tuple[str, int]]:
    """Fields of `event` and `user` that are negated with `!` and never tested with has(): (name, offset)."""
    tree = parse(text)
    nodes = list(walk(tree))
    tested = {
        _path(call.arguments[0])
        for call in nodes
        if isinstance(call, Call) and call.function == "has" and call.arguments
    }
    negated = [n.operand for n in nodes if isinstance(n, Unary) and n.operator == "!"]
    found = ((_path(node), node.offset) for node in negated)
    return [(path, offset) for path, offset in found if path and path not in tested]


def _path(node: Expr) -> str:
    if isinstance(node, Select) and isinstance(node.operand, Name):
        return f"{node.operand.name}.{node.field}" if node.operand.name in ("event", "user") else ""
    return ""
