"""The syntax tree of an expression, and the problem of an expression that cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


class SyntaxProblem(ValueError):
    """An expression that cannot be read; `offset` counts characters from its start."""

    def __init__(self, code: str, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.offset = offset
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as written; an unsigned whole number is a Uint."""

    value: bool | int | float | str | bytes | None
    offset: int
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    offset: int
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Select:
    operand: "Expr"
    field: str
    offset: int
    depth: int


@dataclass(frozen=True, slots=True)
class Index:
    operand: "Expr"
    index: "Expr"
    offset: int
    depth: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function, or a method if `receiver` is set."""

    function: str
    receiver: "Expr | None"
    arguments: tuple["Expr", ...]
    offset: int
    depth: int


@dataclass(frozen=True, slots=True)
class Unary:
    operator: str
    operand: "Expr"
    offset: int
    depth: int


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: "Expr"
    right: "Expr"
    offset: int
    depth: int


@dataclass(frozen=True, slots=True)
class Logic:
    """`&&` or `||` over two or more operands."""

    operator: str
    operands: tuple["Expr", ...]
    offset: int
    depth: int


@dataclass(frozen=True, slots=True)
class Ternary:
    condition: "Expr"
    then: "Expr"
    otherwise: "Expr"
    offset: int
    depth: int


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple["Expr", ...]
    offset: int
    depth: int


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: tuple[tuple["Expr", "Expr"], ...]
    offset: int
    depth: int


Expr: TypeAlias = Literal | Name | Select | Index | Call | Unary | Binary | Logic | Ternary | ListOf | MapOf


def conjuncts(node: Expr) -> Iterator[Expr]:
    """The conditions that must all hold if the node is true: the operands of nested `&&`, or only the node."""
    if isinstance(node, Logic) and node.operator == "&&":
        for operand in node.operands:
            yield from conjuncts(operand)
    else:
        yield node


def children(node: Expr) -> tuple[Expr, ...]:
    """The nodes directly under this one."""
    match node:
        case Select(operand=operand) | Unary(operand=operand):
            return (operand,)
        case Index(operand=operand, index=index):
            return (operand, index)
        case Call(receiver=receiver, arguments=arguments):
            return arguments if receiver is None else (receiver, *arguments)
        case Binary(left=left, right=right):
            return (left, right)
        case Logic(operands=operands) | ListOf(items=operands):
            return operands
        case MapOf(entries=entries):
            return tuple(part for entry in entries for part in entry)
        case Ternary(condition=condition, then=then, otherwise=otherwise):
            return (condition, then, otherwise)
        case _:
            return ()


def walk(node: Expr) -> Iterator[Expr]:
    """The node and all its descendants."""
    yield node
    for child in children(node):
        yield from walk(child)
