"""The syntax of conditions: a subset of CEL (Common Expression Language, cel.dev) read into a small tree.

An LALR grammar by lark; nodes are built as the parser reduces, so no depth of input can exhaust the stack, and the
bounds below are met while reading.
"""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import LarkError

MAX_CHARS = 4_000
MAX_DEPTH = 32
MAX_LOGIC_DEPTH = 12
"""Python allows 20 nested blocks; each level of && or || takes one."""
MAX_ITEMS = 200

GRAMMAR = r"""
?start: expr
?expr: or_ | or_ QUESTION or_ ":" expr -> ternary
?or_: and_ | and_ (OR and_)+ -> logic
?and_: relation | relation (AND relation)+ -> logic
?relation: sum | relation COMPARE sum -> binary | relation IN sum -> binary
?sum: product | sum SUM product -> binary
?product: unary | product PRODUCT unary -> binary
?unary: member | BANG unary -> unary | MINUS unary -> unary
?member: primary
    | member "." NAME -> select
    | member "." NAME LPAREN arguments ")" -> method
    | member LBRACKET expr "]" -> index
?primary: NAME -> name
    | NAME LPAREN arguments ")" -> call
    | "(" expr ")" -> group
    | LBRACKET arguments "]" -> list_
    | FLOAT -> number | INT -> number | STRING -> string
    | TRUE -> constant | FALSE -> constant | NULL -> constant
arguments: [expr ("," expr)* ","?]

QUESTION: "?"
OR: "||"
AND: "&&"
COMPARE: "==" | "!=" | "<=" | ">=" | "<" | ">"
IN: "in"
SUM: "+" | "-"
MINUS: "-"
PRODUCT: "*" | "/" | "%"
BANG: "!"
LPAREN: "("
LBRACKET: "["
TRUE: "true"
FALSE: "false"
NULL: "null"
NAME: /[A-Za-z_][A-Za-z0-9_]*/
FLOAT.2: /[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+([eE][+-]?[0-9]+)?/
INT: /0x[0-9a-fA-F]+|[0-9]+/
STRING: /"(\\.|[^"\\\r\n])*"|'(\\.|[^'\\\r\n])*'/
%ignore /[ \n\r]+/
%ignore /\/\/[^\n]*/
"""


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
    value: bool | int | float | str | None
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
    """A function, or a method where `receiver` is set."""

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


Expr: TypeAlias = Literal | Name | Select | Index | Call | Unary | Binary | Logic | Ternary | ListOf


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
        case Ternary(condition=condition, then=then, otherwise=otherwise):
            return (condition, then, otherwise)
        case _:
            return ()


def _depth(offset: int, *nodes: Expr) -> int:
    depth = 1 + max((node.depth for node in nodes), default=0)
    if depth > MAX_DEPTH:
        raise SyntaxProblem("cel-limit", f"nested more than {MAX_DEPTH} deep", offset, "split the rule")
    return depth


def _at(token: Token) -> int:
    return cast(int, token.start_pos)


@v_args(inline=True)
class _Build(Transformer[Token, Expr]):
    """One method for each rule of the grammar; every node points at the token that makes it what it is."""

    def name(self, token: Token) -> Expr:
        return Name(str(token), _at(token))

    def number(self, token: Token) -> Expr:
        if token.type == "FLOAT":
            return Literal(_finite(token), _at(token))
        value = int(token, 16) if token.startswith("0x") else int(token)
        if value >= 2**63:
            raise SyntaxProblem("cel-limit", "a whole number of more than 63 bits", _at(token))
        return Literal(value, _at(token))

    def string(self, token: Token) -> Expr:
        return Literal(_unescape(token), _at(token))

    def constant(self, token: Token) -> Expr:
        return Literal({"true": True, "false": False, "null": None}[str(token)], _at(token))

    def group(self, inner: Expr) -> Expr:
        return inner

    def select(self, operand: Expr, field: Token) -> Expr:
        return Select(operand, str(field), _at(field), _depth(_at(field), operand))

    def index(self, operand: Expr, bracket: Token, index: Expr) -> Expr:
        return Index(operand, index, _at(bracket), _depth(_at(bracket), operand, index))

    def call(self, name: Token, _: Token, arguments: tuple[Expr, ...]) -> Expr:
        return Call(str(name), None, arguments, _at(name), _depth(_at(name), *arguments))

    def method(self, receiver: Expr, name: Token, _: Token, arguments: tuple[Expr, ...]) -> Expr:
        return Call(str(name), receiver, arguments, _at(name), _depth(_at(name), receiver, *arguments))

    def arguments(self, *items: Expr | None) -> Any:
        present = tuple(item for item in items if item is not None)
        if len(present) > MAX_ITEMS:
            raise SyntaxProblem("cel-limit", f"more than {MAX_ITEMS} items", present[0].offset)
        return present

    def list_(self, bracket: Token, items: tuple[Expr, ...]) -> Expr:
        return ListOf(items, _at(bracket), _depth(_at(bracket), *items))

    def unary(self, operator: Token, operand: Expr) -> Expr:
        return Unary(str(operator), operand, _at(operator), _depth(_at(operator), operand))

    def binary(self, left: Expr, operator: Token, right: Expr) -> Expr:
        return Binary(str(operator), left, right, _at(operator), _depth(_at(operator), left, right))

    def logic(self, *parts: Any) -> Expr:
        operator, operands = parts[1], parts[0::2]
        return Logic(str(operator), operands, _at(operator), _depth(_at(operator), *operands))

    def ternary(self, condition: Expr, mark: Token, then: Expr, otherwise: Expr) -> Expr:
        return Ternary(condition, then, otherwise, _at(mark), _depth(_at(mark), condition, then, otherwise))


def _finite(token: Token) -> float:
    value = float(token)
    if value == float("inf"):
        raise SyntaxProblem("cel-limit", "a number too large", _at(token))
    return value


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)")
_SIMPLE_ESCAPES = dict(zip("abfnrtv\\\"'`?", "\a\b\f\n\r\t\v\\\"'`?", strict=True))


def _unescape(token: Token) -> str:
    """The text between the quotes, with CEL's escapes read."""
    broken = SyntaxProblem("cel-syntax", "this text has an unknown escape", _at(token), r"write \\ for \ ")

    def character(match: re.Match[str]) -> str:
        mark = match[1]
        if mark in _SIMPLE_ESCAPES:
            return _SIMPLE_ESCAPES[mark]
        code = -1
        if len(mark) > 1:
            code = int(mark, 8) if mark[0].isdigit() else int(mark[1:], 16)
        if not 0 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise broken
        return chr(code)

    return _ESCAPE.sub(character, token[1:-1])


_PARSER = Lark(GRAMMAR, parser="lalr", lexer="contextual", transformer=_Build(), maybe_placeholders=False)


def parse(text: str) -> Expr:
    """The expression as a tree; raises SyntaxProblem, and nothing else, for whatever it cannot read."""
    if len(text) > MAX_CHARS:
        raise SyntaxProblem("cel-limit", f"more than {MAX_CHARS} characters", 0, "split the rule")
    if not text.strip():
        raise SyntaxProblem("cel-syntax", "the expression is empty", 0)
    try:
        tree = cast(Expr, _PARSER.parse(text))
    except UnexpectedInput as error:
        raise _unexpected(error, text) from None
    except LarkError as error:
        cause = error.__context__
        if isinstance(cause, SyntaxProblem):
            raise cause from None
        raise SyntaxProblem("cel-syntax", "cannot be read", 0) from None
    if _logic_depth(tree) > MAX_LOGIC_DEPTH:
        raise SyntaxProblem("cel-limit", f"&& and || nested more than {MAX_LOGIC_DEPTH} deep", 0, "split the rule")
    return tree


def _logic_depth(node: Expr) -> int:
    below = max((_logic_depth(child) for child in children(node)), default=0)
    return below + isinstance(node, Logic)


_MISTAKES = {
    "=": "compare with ==",
    "&": "write &&",
    "|": "write ||",
    "'": "a text is not closed",
    '"': "a text is not closed",
    "{": "there are no map literals",
}
_WORDS = {"and": "&&", "or": "||", "not": "!", "is": "=="}


def _unexpected(error: UnexpectedInput, text: str) -> SyntaxProblem:
    token = getattr(error, "token", None)
    if token is not None and token.type == "$END":
        return SyntaxProblem("cel-syntax", "the expression ends too early", len(text.rstrip()))
    offset = min(error.pos_in_stream or 0, len(text) - 1)
    found = str(token) if token is not None else text[offset]
    hint = _MISTAKES.get(found[:1], "")
    if found in _WORDS:
        hint = f"write {_WORDS[found]}"
    shown = "".join(c if c.isprintable() else "?" for c in found[:20])
    return SyntaxProblem("cel-syntax", f"`{shown}` is not expected here", offset, hint)
