"""Operators in expressions: which Python code compares, looks up or calculates, by the types of the operands."""

import re

from triggers.cel import types as table
from triggers.cel.tree import Binary, Literal, SyntaxProblem, Unary
from triggers.cel.types import Code, as_bool
from triggers.cel.writer import Writer


def unary(w: Writer, node: Unary) -> Code:
    """`!a` or `-a`."""
    operand = w.code(node.operand)
    if node.operator == "!":
        w.require(operand, ("bool",), node.offset, "!")
        return Code(f"(not {as_bool(operand)})", "bool")
    w.require(operand, ("int", "double", "duration"), node.offset, "-")
    if operand.type == "int":
        return Code(f"int_result(-{operand.text})", "int")
    return Code(f"negative({operand.text})", operand.type)


def binary(w: Writer, node: Binary) -> Code:
    """A comparison, a membership or an arithmetic operation."""
    left, right = w.code(node.left), w.code(node.right)
    if node.operator in ("==", "!="):
        return _equality(w, node, left, right)
    if node.operator in table.COMPARISONS:
        return _comparison(w, node, left, right)
    if node.operator == "in":
        w.require(right, ("list", "map"), node.offset, "in")
        return Code(f"contained({left.text}, {w.paid(right)})", "bool")
    return _arithmetic(w, node, left, right)


def _equality(w: Writer, node: Binary, left: Code, right: Code) -> Code:
    types = {left.type, right.type}
    if not w.scope.strict and not table.comparable(left.type, right.type) and "null" not in types:
        raise _mismatch(node, left, right)
    if types & {"string", "null"} or _plain(w, types):
        text = f"({left.text} == {right.text})"
    elif _mostly_number(w, left, right):
        text = _guarded(w, "==", left, right, "equal")
    else:
        text = f"equal({w.paid(left)}, {right.text})"
    return Code(text if node.operator == "==" else f"(not {text})", "bool")


def _comparison(w: Writer, node: Binary, left: Code, right: Code) -> Code:
    types = {left.type, right.type}
    if not w.scope.strict and (types & table.UNORDERED or not table.comparable(left.type, right.type)):
        raise _mismatch(node, left, right)
    if _plain(w, types):
        return Code(f"({left.text} {node.operator} {right.text})", "bool")
    function = table.COMPARISONS[node.operator]
    if _mostly_number(w, left, right):
        return Code(_guarded(w, node.operator, left, right, function), "bool")
    return Code(f"{function}({w.paid(left)}, {right.text})", "bool")


def _plain(w: Writer, types: set[str]) -> bool:
    """Whether Python compares as CEL does: values of one type, and in rules also numbers of any type."""
    return (len(types) == 1 and types <= table.DIRECT) or (types <= table.NUMBERS and not w.scope.strict)


def _mostly_number(w: Writer, left: Code, right: Code) -> bool:
    return left.type == "dyn" and right.type in table.NUMBERS and not w.scope.strict


def _guarded(w: Writer, operator: str, left: Code, right: Code, function: str) -> str:
    """A comparison that uses Python's operator if the data is a number, the usual case, and else the function."""
    name = w.fresh()
    w.line(f"{name} = {left.text}")
    plain = f"{name}.__class__ is float or {name}.__class__ is int"
    return f"({name} {operator} {right.text} if {plain} else {function}({name}, {right.text}))"


def _arithmetic(w: Writer, node: Binary, left: Code, right: Code) -> Code:
    types, operator = (left.type, right.type), node.operator
    if types == ("int", "int"):
        if operator == "/":
            w.reads.whole_quotients.append(node.offset)
        return Code(table.WHOLE_ARITHMETIC[operator].format(left.text, right.text), "int")
    if not w.scope.strict and set(types) <= table.MIXED:
        return Code(table.MIXED_ARITHMETIC[operator].format(left.text, right.text), "double")
    times = table.TIME_ARITHMETIC.get((operator, *types))
    if times is not None:
        return Code(times.format(left.text, right.text), table.RESULTS[operator][types])
    result = table.RESULTS[operator].get(types)
    if not w.scope.strict and result is None and "dyn" not in types:
        raise _mismatch(node, left, right)
    element = left.element if left.element == right.element else "dyn"
    function = table.ARITHMETIC[operator]
    return Code(f"{function}({w.paid(left)}, {w.paid(right)})", result or "dyn", element)


def _mismatch(node: Binary, left: Code, right: Code) -> SyntaxProblem:
    types = {left.type, right.type}
    hint = ""
    for side in (node.left, node.right):
        if isinstance(side, Literal) and isinstance(side.value, str) and types & {"int", "double"}:
            number = re.fullmatch(r"[0-9]+(\.[0-9]+)?", side.value)
            hint = f"a number has no quotes, as in {node.operator} {side.value}" if number else hint
    return SyntaxProblem("cel-type", f"no such operation: {left.type} {node.operator} {right.type}", node.offset, hint)
