"""Calls in expressions: functions and methods from the tables of `types`, and the macros that iterate over lists."""

from schemas.wording import nearest, quoted
from schemas.zones import zone_hint
from triggers.cel import cost
from triggers.cel import names as cel_names
from triggers.cel import types as table
from triggers.cel.conversions import to_duration, to_timestamp
from triggers.cel.text import pattern
from triggers.cel.time import days, hours, is_zone
from triggers.cel.tree import Call, Expr, Literal, Name, SyntaxProblem
from triggers.cel.types import Code, Function, as_bool
from triggers.cel.values import EvaluationError
from triggers.cel.writer import Writer


def call(w: Writer, node: Call) -> Code:
    """A function, a method or a macro."""
    if node.receiver is None and node.function == "has":
        return cel_names.has(w, node)
    if cost.is_macro(node):
        return w.outlined(lambda: _macro(w, node)) if w.too_deep() else _macro(w, node)
    functions = table.FUNCTIONS if w.scope.strict else table.RULE_FUNCTIONS
    known = functions if node.receiver is None else table.METHODS
    function = known.get((node.function, len(node.arguments)))
    if function is None:
        if w.scope.strict:
            return Code(f"unknown({f'function {quoted(node.function)} of these arguments'!r})", "dyn")
        raise _unknown(node, known)
    return _function(w, node, function)


def _unknown(node: Call, known: dict[tuple[str, int], Function]) -> SyntaxProblem:
    counts = [count for name, count in known if name == node.function]
    if node.receiver is not None:
        counts += table.MACROS.get(node.function, ())
    if counts:
        takes = " or ".join(("no", "one", "two", "three")[count] for count in counts)
        message = f"{node.function}() takes {takes} argument{'s' if counts[-1] != 1 else ''}"
        return SyntaxProblem("cel-type", message, node.offset)
    more = ("has",) if node.receiver is None else tuple(table.MACROS)
    hint = nearest(node.function, [*dict.fromkeys(name for name, _ in known), *more])
    return SyntaxProblem("cel-name", f"there is no function {quoted(node.function)}", node.offset, hint)


def _function(w: Writer, node: Call, function: Function) -> Code:
    parts = node.arguments if node.receiver is None else (node.receiver, *node.arguments)
    codes = [w.code(part) for part in parts]
    for code, takes in zip(codes, function.takes, strict=True):
        if takes != "any":
            w.require(code, (*takes.split(), *_whole_enough(takes, code)), node.offset, f"{node.function}()")
    if node.function == "dyn":
        return codes[0]._replace(type="dyn")
    if node.function == "matches":
        return _matches(w, parts[1], codes)
    _require_zone(w, node, parts)
    fixed = _fixed(w, node, parts)
    if fixed is not None:
        return Code(fixed, function.gives)
    if node.function == "type" and not w.scope.strict and codes[0].type != "dyn":
        return Code(f"({codes[0].text}, TYPES[{table.TYPE_NAMES[codes[0].type]!r}])[1]", "type")
    return Code(f"{function.runtime}({', '.join(map(w.paid, codes))})", function.gives, function.element)


_FIXED = {"days": days, "hours": hours, "duration": to_duration, "timestamp": to_timestamp}


def _fixed(w: Writer, node: Call, parts: tuple[Expr, ...]) -> str | None:
    """A literal time, made once. Rules report an invalid one when they load."""
    if node.function not in _FIXED or not isinstance(parts[0], Literal):
        return None
    try:
        return w.constant(_FIXED[node.function](parts[0].value))
    except EvaluationError as error:
        if w.scope.strict:
            return None
        raise SyntaxProblem("cel-syntax", str(error), parts[0].offset) from None


def _require_zone(w: Writer, node: Call, parts: tuple[Expr, ...]) -> None:
    """In rules, a literal zone must exist."""
    written = parts[1] if node.function in table.ZONED and len(parts) > 1 else None
    if w.scope.strict or not isinstance(written, Literal) or not isinstance(written.value, str):
        return
    if not is_zone(written.value):
        name = written.value
        raise SyntaxProblem("invalid-zone", f"unknown time zone {quoted(name)}", written.offset, zone_hint(name))


_CONDITION = "a macro's condition"


def _whole_enough(takes: str, code: Code) -> tuple[str, ...]:
    """Numbers of the data may be positions in a text."""
    return ("double",) if takes == "int" and code.type == "double" else ()


def _matches(w: Writer, written: Expr, codes: list[Code]) -> Code:
    """A literal pattern is compiled now. Rules allow no other patterns, because their cost is unknown."""
    text = w.paid(codes[0])
    if isinstance(written, Literal) and isinstance(written.value, str):
        try:
            return Code(f"found({text}, {w.constant(pattern(written.value))})", "bool")
        except EvaluationError as error:
            if not w.scope.strict:
                raise SyntaxProblem("cel-syntax", str(error), written.offset, "RE2's syntax") from None
    elif not w.scope.strict:
        raise SyntaxProblem("cel-type", "matches() takes a pattern that is written out", written.offset, "a text")
    return Code(f"matches({text}, {codes[1].text})", "bool")


# macros --------------------------------------------------------------------------------------------------------------


def _macro(w: Writer, node: Call) -> Code:
    """`list.all(x, …)` and similar. Each item costs work, by the weight of the expression."""
    assert node.receiver is not None  # a macro has one: is_macro
    variable, *bodies = node.arguments
    items = w.code(node.receiver)
    w.require(items, ("list", "map"), node.offset, f"{node.function}()")
    heavy = 1 + sum(map(cost.weight, bodies))
    elements, result, value = w.fresh(), w.fresh(), w.fresh("v")
    w.line(f"{elements} = elements(work, {items.text}, {heavy})")
    with w.variable(_variable(w, variable), Code(value, items.element)):
        head = f"for {value} in {elements}:"
        match node.function:
            case "all":
                return _quantified(w, head, result, bodies[0], stop="False")
            case "exists":
                return _quantified(w, head, result, bodies[0], stop="True")
            case "exists_one" | "existsOne":
                return _exists_one(w, head, result, bodies[0])
            case "filter":
                return _mapped(w, head, result, bodies[0], Code(value, items.element))
            case _:
                return _mapped(w, head, result, bodies[0] if len(bodies) > 1 else None, bodies[-1])


def _variable(w: Writer, node: Expr) -> str:
    if not isinstance(node, Name) or node.name.startswith("."):
        raise SyntaxProblem("cel-type", "a macro begins with a variable's name", node.offset, "as in exists(x, x > 1)")
    if not w.scope.strict and node.name in table.ROOTS:
        raise SyntaxProblem("cel-name", f"`{node.name}` is taken", node.offset, "another name for the variable")
    return node.name


def _predicate(w: Writer, node: Expr) -> str:
    code = w.code(node)
    w.require(code, ("bool",), node.offset, _CONDITION)
    return as_bool(code)


def _quantified(w: Writer, head: str, result: str, body: Expr, stop: str) -> Code:
    """Works as && or || over the items: a deciding item ends the loop; an error is raised after the last item."""
    one, kept = w.fresh(), w.fresh()
    other = "True" if stop == "False" else "False"
    w.line(f"{result} = {other}")
    w.line(f"{kept} = {other}")
    with w.block(head):
        w.attempt(body, one, _CONDITION)
        with w.block(f"if {one} is {stop}:"):
            w.line(f"{result} = {stop}")
            w.line("break")
        with w.block(f"if {one} is not {other}:"):
            w.line(f"{kept} = {one}")
    w.line(f"if {result} is {other}: truth({kept})")
    return Code(result, "bool")


def _exists_one(w: Writer, head: str, result: str, body: Expr) -> Code:
    w.line(f"{result} = 0")
    with w.block(head):
        w.line(f"if {_predicate(w, body)}: {result} += 1")
    return Code(f"({result} == 1)", "bool")


def _mapped(w: Writer, head: str, result: str, condition: Expr | None, gives: Expr | Code) -> Code:
    """A new list with the result of each item that meets the condition."""
    w.line(f"{result} = []")
    with w.block(head):
        if condition is not None:
            w.line(f"if not {_predicate(w, condition)}: continue")
        code = gives if isinstance(gives, Code) else w.code(gives)
        w.line(f"{result}.append({code.text})")
    return Code(result, "list", code.type)
