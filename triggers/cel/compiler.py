"""Compiles an expression's tree: checks names and types, writes Python source, and compiles it once.

The source uses one argument, the evaluation's context, and the functions of the runtime named below. The same
compiler serves rules' expressions and standard CEL; `Scope` says which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triggers.cel import arithmetic, conversions, operators, runtime, values
from triggers.cel import calls as cel_calls
from triggers.cel import cost as cel_cost
from triggers.cel import names as cel_names
from triggers.cel import text as cel_text
from triggers.cel import time as cel_time
from triggers.cel import types as table
from triggers.cel.tree import (
    Binary,
    Call,
    Expr,
    Index,
    ListOf,
    Literal,
    Logic,
    MapOf,
    Name,
    Select,
    SyntaxProblem,
    Ternary,
    Unary,
)
from triggers.cel.types import Code, as_bool, literal
from triggers.cel.writer import Scope, Writer

_FUNCTIONS: tuple[tuple[object, tuple[str, ...]], ...] = (
    (
        runtime,
        (
            *("both", "contained", "either", "elements", "field", "ge", "gt", "has_field", "item", "le", "lt"),
            *("map_of", "paid", "reading", "size", "truth", "unknown", "FAILURES"),
        ),
    ),
    (values, ("Uint", "TYPES", "duration_result", "equal", "int_result", "moment", "timestamp_result", "type_of")),
    (arithmetic, ("add", "div", "double_div", "double_mod", "int_div", "int_mod", "mod", "mul", "negative", "sub")),
    (
        conversions,
        (*("to_bool", "to_bytes", "to_double", "to_duration", "to_int", "to_string", "to_timestamp", "to_uint"),),
    ),
    (
        cel_text,
        (
            *("char_at", "contains", "ends_with", "found", "index_of", "last_index_of", "lower", "matches", "replace"),
            *("reverse", "split", "starts_with", "substring", "trim", "upper"),
        ),
    ),
    (
        cel_time,
        (
            *("date", "day_of_month", "day_of_week", "day_of_year", "days", "hour", "hours", "millisecond", "minute"),
            *("month", "second", "year"),
        ),
    ),
)
_STRICT: dict[str, Any] = {name: getattr(module, name) for module, names in _FUNCTIONS for name in names}
_STRICT |= {"__builtins__": {}, "float": float, "int": int, "join_texts": cel_text.join}
_RULES: dict[str, Any] = {
    **_STRICT,
    **{name: getattr(arithmetic, f"{name}_data") for name in ("add", "sub", "mul", "div", "mod", "negative")},
    "type_of": conversions.type_of_data,
    "to_timestamp": conversions.timestamp_of_data,
}
"""The same names for rules: if types are known only at run time, numbers are doubles."""


@dataclass(slots=True)
class Compiled:
    """A compiled expression and the names that it reads."""

    function: Callable[[Any], Any]
    type: str
    source: str
    cost: int
    """The maximum number of steps for lists of the assumed length: see `triggers.cel.cost`."""
    scores: frozenset[str]
    metrics: frozenset[tuple[str, str]]
    """Metrics by name and field."""
    segments: frozenset[str]
    event_fields: dict[str, int]
    """Properties of `event`, each with its offset in the text."""
    occurrence: dict[str, int]
    """Of `occurrence`: `matched` and `events`."""
    matched_fields: dict[str, int]
    """Properties of `occurrence.matched`."""
    roots: frozenset[str]
    whole_quotients: tuple[int, ...] = ()
    """The offsets of divisions of two whole numbers."""


def compile_tree(tree: Expr, scope: Scope) -> Compiled:
    """The tree as a Python function of a context; raises SyntaxProblem if names or types do not fit.

    With `scope.variables` the function takes the variables' values by name instead.
    """
    cost = cel_cost.cost(tree)
    if cost > cel_cost.MAX_COST and not scope.strict:
        message = f"may take more than {cel_cost.MAX_COST} steps"
        raise SyntaxProblem("cel-limit", message, 0, "nest fewer macros, or shorten the expression")
    works = cel_cost.has_macro(tree)
    writer = Writer(scope, _code, works)
    result = writer.code(tree)
    steps = cel_cost.MAX_STRICT_STEPS if scope.strict else cel_cost.MAX_STEPS
    budget = [f"    work = [{steps}]"] if works else []
    body = [*writer.functions, "def condition(c):", *budget, *writer.lines, f"    return {result.text}"]
    source = "\n".join(body)
    namespace: dict[str, Any] = {**(_STRICT if scope.strict else _RULES), **writer.constants}
    exec(compile(source, "<condition>", "exec"), namespace)  # noqa: S102 - our own templates only, see triggers.cel.writer
    reads = writer.reads
    return Compiled(
        namespace["condition"],
        result.type,
        source,
        cost,
        frozenset(reads.scores),
        frozenset(reads.metrics),
        frozenset(reads.segments),
        reads.event_fields,
        reads.occurrence,
        reads.matched_fields,
        frozenset(reads.roots),
        tuple(reads.whole_quotients),
    )


def _code(w: Writer, node: Expr) -> Code:
    match node:
        case Literal():
            return literal(node)
        case Name():
            return cel_names.name(w, node)
        case Select():
            return cel_names.select(w, node)
        case Index():
            return _index(w, node)
        case Call():
            return cel_calls.call(w, node)
        case Unary():
            return operators.unary(w, node)
        case Binary():
            return operators.binary(w, node)
        case Logic():
            return w.outlined(lambda: _logic(w, node)) if w.too_deep() else _logic(w, node)
        case Ternary():
            return w.outlined(lambda: _ternary(w, node)) if w.too_deep() else _ternary(w, node)
        case ListOf():
            return _list(w, node)
        case MapOf():
            return _map(w, node)


def _list(w: Writer, node: ListOf) -> Code:
    items = [w.code(item) for item in node.items]
    text = f"[{', '.join(item.text for item in items)}]"
    return Code(text, "list", table.common({item.type for item in items}) if items else "dyn")


def _map(w: Writer, node: MapOf) -> Code:
    entries = []
    for key, value in node.entries:
        code = w.code(key)
        w.require(code, ("string", "int", "uint", "bool"), key.offset, "a map's key")
        entries.append(f"({code.text}, {w.code(value).text})")
    return Code(f"map_of({', '.join(entries)})", "map")


def _index(w: Writer, node: Index) -> Code:
    cel_names.refuse_field_in_brackets(w, node)
    operand, index = w.code(node.operand), w.code(node.index)
    w.require(operand, ("list", "map"), node.offset, "[]")
    keys = ("int", "uint", "double", "string", "bool") if operand.type != "list" else ("int", "uint", "double")
    w.require(index, keys, node.offset, "[]")
    return Code(f"item({operand.text}, {index.text})", operand.element if operand.type == "list" else "dyn")


# control -------------------------------------------------------------------------------------------------------------


def _logic(w: Writer, node: Logic) -> Code:
    """Evaluates each operand separately; an error is raised only if no other operand decides the result."""
    stop, absorb = ("False", "both") if node.operator == "&&" else ("True", "either")
    result = w.fresh()
    names: list[str] = []
    with w.block("while True:"):
        for operand in node.operands:
            names.append(w.fresh())
            w.attempt(operand, names[-1], node.operator)
            with w.block(f"if {names[-1]} is {stop}:"):
                w.line(f"{result} = {stop}")
                w.line("break")
        other = "True" if stop == "False" else "False"
        plainly = " is ".join([*names, other])
        w.line(f"{result} = {other} if {plainly} else {absorb}(({', '.join(names)},))")
        w.line("break")
    return Code(result, "bool")


def _ternary(w: Writer, node: Ternary) -> Code:
    condition = w.code(node.condition)
    w.require(condition, ("bool",), node.offset, "?:")
    result = w.fresh()
    codes: list[Code] = []
    for head, branch in ((f"if {as_bool(condition)}:", node.then), ("else:", node.otherwise)):
        with w.block(head):
            codes.append(w.code(branch))
            w.line(f"{result} = {codes[-1].text}")
    same = codes[0].element == codes[1].element
    return Code(result, table.common({code.type for code in codes}), codes[0].element if same else "dyn")
