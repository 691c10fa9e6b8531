"""Typed code from a condition's tree: names and types are checked, then Python source is written, compiled once.

The source is made only of our own templates and `repr` of literals; it sees one argument, the evaluation's context,
and the functions of `cel_runtime`. Nothing a rule's author writes becomes a Python name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from triggers import cel_runtime
from triggers import cel_types as table
from triggers.cel_syntax import (
    Binary,
    Call,
    Expr,
    Index,
    ListOf,
    Literal,
    Logic,
    Name,
    Select,
    SyntaxProblem,
    Ternary,
    Unary,
)
from triggers.cel_types import Code, as_bool, event_field, has_event_field, is_whole_literal, literal
from triggers.diagnostics import nearest

_METRIC_HINT = "name a field: .count .sum .distinct .first .last"
_NAMESPACE: dict[str, Any] = {
    name: getattr(cel_runtime, name)
    for name in (
        *("add", "as_time", "both", "contained", "days", "div", "either", "equal", "field", "ge", "gt", "has_field"),
        *("hours", "int_div", "int_mod", "int_result", "item", "le", "lt", "mul", "negative", "reading", "size", "sub"),
        *("text_contains", "text_ends", "text_starts", "to_double", "to_int", "to_string", "to_timestamp", "truth"),
        "FAILURES",
    )
}


@dataclass(slots=True)
class Compiled:
    """A compiled expression, and what it reads."""

    function: Callable[[Any], Any]
    type: str
    source: str
    scores: frozenset[str]
    metrics: frozenset[tuple[str, str]]
    """Metrics by name and field."""
    segments: frozenset[str]
    event_fields: dict[str, int]
    roots: frozenset[str]


@dataclass(slots=True)
class Scope:
    """What an expression may name. `scores` is None where any name will do (it is checked later)."""

    roots: frozenset[str] = frozenset(table.ROOTS)
    scores: frozenset[str] | None = None


def compile_tree(tree: Expr, scope: Scope) -> Compiled:
    """The tree as a Python function of a context; raises SyntaxProblem where names or types do not fit."""
    writer = _Writer(scope)
    result = writer.code(tree)
    source = "\n".join(["def condition(c):", *writer.lines, f"    return {result.text}"])
    namespace: dict[str, Any] = {"__builtins__": {}, "float": float, "int": int, **_NAMESPACE}
    exec(compile(source, "<condition>", "exec"), namespace)  # noqa: S102 - our own templates only, see above
    return Compiled(
        namespace["condition"],
        result.type,
        source,
        frozenset(writer.scores),
        frozenset(writer.metrics),
        frozenset(writer.segments),
        writer.event_fields,
        frozenset(writer.roots),
    )


@dataclass(slots=True)
class _Writer:
    scope: Scope
    lines: list[str] = field(default_factory=list)
    scores: set[str] = field(default_factory=set)
    metrics: set[tuple[str, str]] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)
    event_fields: dict[str, int] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)
    indent: int = 1
    temps: int = 0

    def line(self, text: str) -> None:
        self.lines.append(" " * (self.indent * 4) + text)

    def temp(self) -> str:
        self.temps += 1
        return f"t{self.temps}"

    def code(self, node: Expr) -> Code:
        match node:
            case Literal():
                return literal(node)
            case Name():
                return self._name(node)
            case Select():
                return self._select(node)
            case Index():
                return self._index(node)
            case Call():
                return self._call(node)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case Logic():
                return self._logic(node)
            case Ternary():
                return self._ternary(node)
            case ListOf():
                return Code(f"[{', '.join(self.code(item).text for item in node.items)}]", "list")

    # names -----------------------------------------------------------------------------------------------------------

    def _root(self, node: Name) -> str:
        if node.name not in table.ROOTS:
            raise SyntaxProblem("cel-name", f"`{node.name}` is not known", node.offset, nearest(node.name, table.ROOTS))
        if node.name not in self.scope.roots:
            hint = f"known here: {', '.join(sorted(self.scope.roots))}"
            raise SyntaxProblem("cel-name", f"`{node.name}` cannot be used here", node.offset, hint)
        self.roots.add(node.name)
        return node.name

    def _name(self, node: Name) -> Code:
        if self._root(node) == "now":
            return Code("as_time(c.now_ms)", "timestamp")
        raise SyntaxProblem(
            "cel-name", f"`{node.name}` is no value by itself", node.offset, f"name a field: {node.name}.…"
        )

    def _select(self, node: Select) -> Code:
        known = self._known_field(node)
        if known is not None:
            return known
        operand = self.code(node.operand)
        self._require(operand, ("map",), node.offset, f".{node.field}")
        return Code(f"field({operand.text}, {node.field!r})", "dyn")

    def _known_field(self, node: Select) -> Code | None:
        """A field of one of the names that an expression begins with, or None for a field of a value."""
        if self._is_entry_event(node.operand):
            return event_field("c.occurrence.event", node.field)
        if self._is_metric(node.operand):
            return self._metric(node)
        if not isinstance(node.operand, Name) or node.operand.name == "now":
            return None
        match self._root(node.operand):
            case "event":
                if node.field not in table.EVENT or node.field == "properties":
                    self.event_fields.setdefault(node.field, node.offset)
                return event_field("c.event", node.field)
            case "user":
                if node.field in table.USER:
                    return Code(f"c.user.{node.field}", table.USER[node.field])
                return Code(f"c.user.attributes[{node.field!r}]", "dyn")
            case "score":
                return self._score(node)
            case "segment":
                self.segments.add(node.field)
                return Code(f"c.segment({node.field!r})", "bool")
            case "metric":
                message = f"`metric.{node.field}` is no value by itself"
                raise SyntaxProblem("cel-name", message, node.offset, _METRIC_HINT)
            case _:
                return self._occurrence(node)

    def _is_entry_event(self, node: Expr) -> bool:
        return (
            isinstance(node, Select)
            and node.field == "event"
            and isinstance(node.operand, Name)
            and self._root(node.operand) == "occurrence"
        )

    def _is_metric(self, node: Expr) -> bool:
        return isinstance(node, Select) and isinstance(node.operand, Name) and self._root(node.operand) == "metric"

    def _metric(self, node: Select) -> Code:
        read, kind = self._metric_read(node), table.METRIC[node.field]
        text = f"reading({read}, {node.field!r})"
        return Code(f"as_time({text})" if kind == "timestamp" else text, kind)

    def _metric_read(self, node: Select) -> str:
        """The call that gives a metric's field, or None where it has none."""
        name = cast(Select, node.operand).field
        if node.field not in table.METRIC:
            hint = nearest(node.field, table.METRIC)
            raise SyntaxProblem("cel-name", f"`metric.{name}.{node.field}` is not known", node.offset, hint)
        self.metrics.add((name, node.field))
        return f"c.metric({name!r}, {node.field!r})"

    def _score(self, node: Select) -> Code:
        if self.scope.scores is not None and node.field not in self.scope.scores:
            hint = nearest(node.field, self.scope.scores)
            raise SyntaxProblem("unknown-score", f"there is no score `{node.field}`", node.offset, hint)
        self.scores.add(node.field)
        return Code(f"c.score({node.field!r})", "double")

    def _occurrence(self, node: Select) -> Code:
        if node.field in table.LATER_OCCURRENCE:
            raise SyntaxProblem("not-yet", f"`occurrence.{node.field}` is not yet supported", node.offset)
        if node.field == "event":
            raise SyntaxProblem("cel-name", "`occurrence.event` is no value by itself", node.offset, "name a field")
        if node.field not in table.OCCURRENCE:
            hint = nearest(node.field, [*table.OCCURRENCE, "event"])
            raise SyntaxProblem("cel-name", f"`occurrence.{node.field}` is not known", node.offset, hint)
        read = f"c.occurrence.{node.field}"
        return Code(f"as_time({read})" if node.field == "entered_at" else read, table.OCCURRENCE[node.field])

    # operations ------------------------------------------------------------------------------------------------------

    def _require(self, code: Code, types: tuple[str, ...], offset: int, what: str) -> None:
        if code.type != "dyn" and code.type not in types:
            raise SyntaxProblem("cel-type", f"{what} does not fit a {code.type}", offset)

    def _index(self, node: Index) -> Code:
        operand, index = self.code(node.operand), self.code(node.index)
        self._require(operand, ("list", "map"), node.offset, "[]")
        self._require(index, ("int", "double", "string"), node.offset, "[]")
        return Code(f"item({operand.text}, {index.text})", "dyn")

    def _call(self, node: Call) -> Code:
        if node.receiver is None and node.function == "has":
            return self._has(node)
        known: dict[str, Any] = table.METHODS if node.receiver is not None else table.FUNCTIONS
        if node.receiver is not None and node.function == "size":
            node = Call("size", None, (node.receiver, *node.arguments), node.offset, node.depth)
            known = table.FUNCTIONS
        if node.function not in known:
            self._unknown_function(node, known)
        if len(node.arguments) != 1:
            raise SyntaxProblem("cel-type", f"{node.function}() takes one argument", node.offset)
        argument = self.code(node.arguments[0])
        if node.receiver is not None:
            receiver = self.code(node.receiver)
            for part in (receiver, argument):
                self._require(part, ("string",), node.offset, f"{node.function}()")
            return Code(f"{table.METHODS[node.function]}({receiver.text}, {argument.text})", "bool")
        function, result = table.FUNCTIONS[node.function]
        self._check_argument(node, argument)
        return Code(f"{function}({argument.text})", result)

    def _check_argument(self, node: Call, argument: Code) -> None:
        takes: dict[str, tuple[str, ...]] = {
            "size": ("string", "list", "map"),
            "timestamp": ("string", "timestamp"),
            "string": ("string", "int", "double", "bool", "timestamp"),
        }
        types = takes.get(node.function, ("int", "double", "string"))
        self._require(argument, types, node.offset, f"{node.function}()")

    def _unknown_function(self, node: Call, known: dict[str, Any]) -> None:
        if node.function in table.LATER_FUNCTIONS:
            raise SyntaxProblem("not-yet", f"{node.function}() is not yet supported", node.offset)
        hint = nearest(node.function, [*known, *(() if node.receiver is not None else ("has",))])
        raise SyntaxProblem("cel-name", f"there is no function {node.function}()", node.offset, hint)

    def _has(self, node: Call) -> Code:
        target = node.arguments[0] if len(node.arguments) == 1 else None
        if not isinstance(target, Select):
            raise SyntaxProblem("cel-type", "has() takes one field", node.offset, "as in has(event.total)")
        if isinstance(target.operand, Name) and target.operand.name != "now":
            return self._has_root(self._root(target.operand), target)
        if self._is_entry_event(target.operand):
            return has_event_field("c.occurrence.event", target.field)
        if self._is_metric(target.operand):
            return Code(f"({self._metric_read(target)} is not None)", "bool")
        operand = self.code(target.operand)
        self._require(operand, ("map",), node.offset, "has()")
        return Code(f"has_field({operand.text}, {target.field!r})", "bool")

    def _has_root(self, root: str, target: Select) -> Code:
        if root == "event":
            return has_event_field("c.event", target.field)
        if root == "user":
            if target.field in table.USER:
                return Code(f"(c.user.{target.field} is not None)", "bool")
            return Code(f"({target.field!r} in c.user.attributes)", "bool")
        self.code(target)
        return Code("True", "bool")

    def _unary(self, node: Unary) -> Code:
        operand = self.code(node.operand)
        if node.operator == "!":
            self._require(operand, ("bool",), node.offset, "!")
            return Code(f"(not {as_bool(operand)})", "bool")
        self._require(operand, ("int", "double", "duration"), node.offset, "-")
        if operand.type == "int":
            return Code(f"int_result(-{operand.text})", "int")
        return Code(f"negative({operand.text})", operand.type)

    def _binary(self, node: Binary) -> Code:
        left, right = self.code(node.left), self.code(node.right)
        if left.type == "dyn" and is_whole_literal(node.right):
            right = Code(right.text, "double")
        if right.type == "dyn" and is_whole_literal(node.left):
            left = Code(left.text, "double")
        if node.operator in ("==", "!="):
            return self._equality(node, left, right)
        if node.operator in table.COMPARISONS:
            return self._comparison(node, left, right)
        if node.operator == "in":
            self._require(right, ("list", "map"), node.offset, "in")
            return Code(f"contained({left.text}, {right.text})", "bool")
        return self._arithmetic(node, left, right)

    def _equality(self, node: Binary, left: Code, right: Code) -> Code:
        if not table.comparable(left.type, right.type) and "null" not in (left.type, right.type):
            self._mismatch(node, left, right)
        if {left.type, right.type} & {"string", "null"} or {left.type, right.type} <= table.NUMBERS:
            text = f"({left.text} == {right.text})"
        else:
            text = f"equal({left.text}, {right.text})"
        return Code(text if node.operator == "==" else f"(not {text})", "bool")

    def _comparison(self, node: Binary, left: Code, right: Code) -> Code:
        unordered = {"list", "map", "null"} & {left.type, right.type}
        if unordered or not table.comparable(left.type, right.type):
            self._mismatch(node, left, right)
        if {left.type, right.type} <= table.NUMBERS:
            return Code(f"({left.text} {node.operator} {right.text})", "bool")
        function = table.COMPARISONS[node.operator]
        if left.type == "dyn" and right.type in table.NUMBERS:
            name = self.temp()
            self.line(f"{name} = {left.text}")
            fast = f"{name} {node.operator} {right.text}"
            plain = f"{name}.__class__ is float or {name}.__class__ is int"
            return Code(f"({fast} if {plain} else {function}({name}, {right.text}))", "bool")
        return Code(f"{function}({left.text}, {right.text})", "bool")

    def _arithmetic(self, node: Binary, left: Code, right: Code) -> Code:
        types = (left.type, right.type)
        if node.operator == "%" and types != ("int", "int"):
            hint = "numbers of events are doubles: int(event.x) % 2"
            raise SyntaxProblem("cel-type", "% needs two whole numbers", node.offset, hint)
        if types == ("int", "int"):
            whole = {"/": "int_div({}, {})", "%": "int_mod({}, {})"}.get(
                node.operator, f"int_result({{}} {node.operator} {{}})"
            )
            return Code(whole.format(left.text, right.text), "int")
        if "dyn" not in types and types not in table.RESULTS.get(node.operator, {}):
            self._mismatch(node, left, right)
        result = table.RESULTS[node.operator].get(types, "dyn")
        return Code(f"{table.ARITHMETIC[node.operator]}({left.text}, {right.text})", result)

    def _mismatch(self, node: Binary, left: Code, right: Code) -> None:
        hint = "write double(…) around the whole number" if {left.type, right.type} == table.NUMBERS else ""
        message = f"{left.type} {node.operator} {right.type} is no operation"
        raise SyntaxProblem("cel-type", message, node.offset, hint)

    # control ---------------------------------------------------------------------------------------------------------

    def _logic(self, node: Logic) -> Code:
        """Each operand is tried by itself; an error waits to see whether another operand settles the answer."""
        stop, absorb = ("False", "both") if node.operator == "&&" else ("True", "either")
        result = self.temp()
        outer = self.indent
        names: list[str] = []
        for operand in node.operands:
            name = self.temp()
            self.line("try:")
            self.indent += 1
            code = self.code(operand)
            self._require(code, ("bool",), operand.offset, node.operator)
            self.line(f"{name} = {code.text}")
            self.indent -= 1
            self.line("except FAILURES as error:")
            self.line(f"    {name} = error.with_traceback(None)")
            self.line(f"if {name} is {stop}:")
            self.line(f"    {result} = {stop}")
            self.line("else:")
            self.indent += 1
            names.append(name)
        self.line(f"{result} = {absorb}(({', '.join(names)},))")
        self.indent = outer
        return Code(result, "bool")

    def _ternary(self, node: Ternary) -> Code:
        condition = self.code(node.condition)
        self._require(condition, ("bool",), node.offset, "?:")
        result = self.temp()
        kinds: list[str] = []
        for head, branch in ((f"if {as_bool(condition)}:", node.then), ("else:", node.otherwise)):
            self.line(head)
            self.indent += 1
            code = self.code(branch)
            self.line(f"{result} = {code.text}")
            self.indent -= 1
            kinds.append(code.type)
        return Code(result, kinds[0] if kinds[0] == kinds[1] else "dyn")
