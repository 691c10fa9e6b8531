"""Literals of expressions: the values of tokens (CEL language definition, lexis and string values)."""

import re
from typing import cast

from lark import Token

from triggers.cel.tree import Literal, SyntaxProblem
from triggers.cel.values import Uint

_PREFIX = re.compile(r"[bBrR]*")
_ESCAPE = re.compile(r"\\([xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
_SIMPLE_ESCAPES = dict(zip("abfnrtv\\\"'`?", "\a\b\f\n\r\t\v\\\"'`?", strict=True))


def position(token: Token) -> int:
    """The offset of the token, in characters."""
    return cast(int, token.start_pos)


def number(token: Token) -> Literal:
    """A number; 2**63 is allowed because a minus may precede it."""
    at = position(token)
    if token.type == "FLOAT":
        value = float(token)
        if value == float("inf"):
            raise SyntaxProblem("cel-limit", "a number too large", at)
        return Literal(value, at)
    digits = token.rstrip("uU")
    whole = int(digits, 16) if digits.startswith("0x") else int(digits)
    if token.type == "UINT":
        if whole >= 2**64:
            raise SyntaxProblem("cel-limit", "an unsigned whole number of more than 64 bits", at)
        return Literal(Uint(whole), at)
    if whole > 2**63:
        raise too_large(at)
    return Literal(whole, at)


def too_large(offset: int) -> SyntaxProblem:
    """The problem of a whole number outside 64 bits."""
    return SyntaxProblem("cel-limit", "a whole number of more than 63 bits", offset)


def text(token: Token) -> Literal:
    """A text or bytes, with its escapes read unless it is raw."""
    prefix = cast(re.Match[str], _PREFIX.match(token))[0].lower()
    quoted = token[len(prefix) :]
    width = 3 if len(quoted) >= 6 and quoted[:3] in ('"""', "'''") else 1
    inner = quoted[width:-width]
    if "b" in prefix:
        return Literal(inner.encode() if "r" in prefix else _bytes(inner, position(token)), position(token))
    return Literal(inner if "r" in prefix else _unescaped(inner, position(token)), position(token))


def _unescaped(inner: str, at: int) -> str:
    return _ESCAPE.sub(lambda match: chr(_code(match[1], at)), inner)


def _bytes(inner: str, at: int) -> bytes:
    """The UTF-8 of the text; octal and \\x escapes are single octets."""
    parts: list[bytes] = []
    end = 0
    for match in _ESCAPE.finditer(inner):
        if match[1][0] in "uU":
            raise SyntaxProblem("cel-syntax", "bytes have no \\u escapes", at, r"write octets: \x41")
        parts += (inner[end : match.start()].encode(), bytes([_code(match[1], at)]))
        end = match.end()
    return b"".join([*parts, inner[end:].encode()])


def _code(mark: str, at: int) -> int:
    """The code point that an escape stands for."""
    if mark in _SIMPLE_ESCAPES:
        return ord(_SIMPLE_ESCAPES[mark])
    code = -1
    if len(mark) > 1:
        code = int(mark, 8) if mark[0].isdigit() else int(mark[1:], 16)
    if not 0 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise SyntaxProblem("cel-syntax", "this text has an unknown escape", at, r"write \\ for \ ")
    return code
