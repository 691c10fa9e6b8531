"""The syntax of conditions: a subset of CEL (Common Expression Language, cel.dev) read into a small tree.

An LALR grammar by lark; the parser builds nodes as it reduces, so no depth of input can exhaust the stack, and it
checks the bounds below while reading. CEL messages (`M{…}`) are not supported.
"""

from typing import Any, cast

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import LarkError

from triggers.cel import hints, literals
from triggers.cel.literals import position
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
    walk,
)

MAX_CHARS = 4_000
MAX_DEPTH = 64
"""CEL requires at least 32. The code written for a level nests two or three brackets; Python takes 200."""
MAX_ITEMS = 200

GRAMMAR = (
    r"""
?start: expr
?expr: or_ | or_ QUESTION or_ ":" expr -> ternary
?or_: and_ | and_ (OR and_)+ -> logic
?and_: relation | relation (AND relation)+ -> logic
?relation: sum | relation COMPARE sum -> binary | relation IN sum -> binary
?sum: product | sum SUM product -> binary
?product: unary | product PRODUCT unary -> binary
?unary: member | BANG unary -> unary | MINUS unary -> unary
?member: primary
    | member "." (NAME | ESCAPED) -> select
    | member "." NAME LPAREN arguments ")" -> method
    | member LBRACKET expr "]" -> index
?primary: NAME -> name
    | DOT NAME -> rooted
    | NAME LPAREN arguments ")" -> call
    | "(" expr ")" -> group
    | LBRACKET arguments "]" -> list_
    | LBRACE entries "}" -> map_
    | FLOAT -> number | UINT -> number | INT -> number | STRING -> text
    | TRUE -> constant | FALSE -> constant | NULL -> constant
arguments: [expr ("," expr)* ","?]
entries: [entry ("," entry)* ","?]
entry: expr ":" expr

DOT: "."
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
LBRACE: "{"
TRUE: "true"
FALSE: "false"
NULL: "null"
NAME: /[A-Za-z_][A-Za-z0-9_]*/
ESCAPED: /`[A-Za-z0-9_.\/ -]+`/
FLOAT.2: /[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+/
UINT.2: /(0x[0-9a-fA-F]+|[0-9]+)[uU]/
INT: /0x[0-9a-fA-F]+|[0-9]+/
STRING.3: /[bB]?("""
    + "|".join(
        (
            r'[rR]("""[^"]*("{1,2}[^"]+)*"""|\'\'\'[^\']*(\'{1,2}[^\']+)*\'\'\')',
            r'"""([^"\\]|\\[\s\S]|"{1,2}([^"\\]|\\[\s\S]))*"""',
            r"'''([^'\\]|\\[\s\S]|'{1,2}([^'\\]|\\[\s\S]))*'''",
            r'[rR]("[^"\r\n]*"|\'[^\'\r\n]*\')',
            r'"(\\.|[^"\\\r\n])*"',
            r"'(\\.|[^'\\\r\n])*'",
        )
    )
    + r""")/
%ignore /[ \t\f\r\n]+/
%ignore /\/\/[^\n]*/
"""
)


def _depth(offset: int, *nodes: Expr) -> int:
    depth = 1 + max((node.depth for node in nodes), default=0)
    if depth > MAX_DEPTH:
        raise SyntaxProblem("cel-limit", f"nested more than {MAX_DEPTH} deep", offset, "split the rule")
    return depth


@v_args(inline=True)
class _Build(Transformer[Token, Expr]):
    """One method for each rule of the grammar; every node has the offset of the token that defines it."""

    def name(self, token: Token) -> Expr:
        return Name(_unreserved(token), position(token))

    def rooted(self, _: Token, token: Token) -> Expr:
        return Name(f".{_unreserved(token)}", position(token))

    def number(self, token: Token) -> Expr:
        return literals.number(token)

    def text(self, token: Token) -> Expr:
        return literals.text(token)

    def constant(self, token: Token) -> Expr:
        return Literal({"true": True, "false": False, "null": None}[str(token)], position(token))

    def group(self, inner: Expr) -> Expr:
        return inner

    def select(self, operand: Expr, field: Token) -> Expr:
        return Select(operand, field.strip("`"), position(field), _depth(position(field), operand))

    def index(self, operand: Expr, bracket: Token, index: Expr) -> Expr:
        return Index(operand, index, position(bracket), _depth(position(bracket), operand, index))

    def call(self, name: Token, _: Token, arguments: tuple[Expr, ...]) -> Expr:
        return Call(_unreserved(name), None, arguments, position(name), _depth(position(name), *arguments))

    def method(self, receiver: Expr, name: Token, _: Token, arguments: tuple[Expr, ...]) -> Expr:
        return Call(str(name), receiver, arguments, position(name), _depth(position(name), receiver, *arguments))

    def arguments(self, *items: Any) -> Any:
        if len(items) > MAX_ITEMS:
            first = items[0][0] if isinstance(items[0], tuple) else items[0]
            raise SyntaxProblem("cel-limit", f"more than {MAX_ITEMS} items", first.offset)
        return items

    def list_(self, bracket: Token, items: tuple[Expr, ...]) -> Expr:
        return ListOf(items, position(bracket), _depth(position(bracket), *items))

    def entry(self, key: Expr, value: Expr) -> Any:
        return key, value

    def entries(self, *items: Any) -> Any:
        return self.arguments(*items)

    def map_(self, brace: Token, items: tuple[tuple[Expr, Expr], ...]) -> Expr:
        return MapOf(items, position(brace), _depth(position(brace), *(part for item in items for part in item)))

    def unary(self, operator: Token, operand: Expr) -> Expr:
        if operator == "-" and isinstance(operand, Literal) and operand.value.__class__ in (int, float):
            return Literal(-cast(float, operand.value), position(operator))
        return Unary(str(operator), operand, position(operator), _depth(position(operator), operand))

    def binary(self, left: Expr, operator: Token, right: Expr) -> Expr:
        return Binary(str(operator), left, right, position(operator), _depth(position(operator), left, right))

    def logic(self, *parts: Any) -> Expr:
        operator, operands = parts[1], parts[0::2]
        if len(operands) > MAX_ITEMS:
            raise SyntaxProblem("cel-limit", f"more than {MAX_ITEMS} operands", position(operator), "split the rule")
        return Logic(str(operator), operands, position(operator), _depth(position(operator), *operands))

    def ternary(self, condition: Expr, mark: Token, then: Expr, otherwise: Expr) -> Expr:
        return Ternary(condition, then, otherwise, position(mark), _depth(position(mark), condition, then, otherwise))


RESERVED = frozenset(
    (
        *("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package"),
        *("namespace", "return", "var", "void", "while"),
    )
)


def _unreserved(token: Token) -> str:
    if token in RESERVED:
        hint = "CEL keeps this word for the languages around it"
        raise SyntaxProblem("cel-syntax", f"`{token}` cannot be a name", position(token), hint)
    return str(token)


_PARSER = Lark(GRAMMAR, parser="lalr", lexer="contextual", transformer=_Build(), maybe_placeholders=False)


def parse(text: str) -> Expr:
    """The expression as a tree; raises only SyntaxProblem, for any text that it cannot read."""
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
    largest = next((node for node in walk(tree) if isinstance(node, Literal) and _over(node.value)), None)
    if largest is not None:
        raise literals.too_large(largest.offset)
    return tree


def _over(value: object) -> bool:
    return value.__class__ is int and value == 2**63


def _unexpected(error: UnexpectedInput, text: str) -> SyntaxProblem:
    token = getattr(error, "token", None)
    if token is not None and token.type == "$END":
        return SyntaxProblem("cel-syntax", "the expression ends too early", len(text.rstrip()))
    offset = min(error.pos_in_stream or 0, len(text) - 1)
    found = str(token) if token is not None else text[offset]
    message = f"{hints.shown(text, offset, found)} is not expected here"
    return SyntaxProblem("cel-syntax", message, offset, hints.hint_at(text, offset, found))
