"""Hints for expressions written in the syntax of templates, SQL, JavaScript or Python."""

import re

from schemas.wording import quoted
from triggers.cel.characters import meant, named, retype
from triggers.cel.tree import SyntaxProblem

_BRACES = re.compile(r"\$?\{\{([^{}]*)\}\}|\$\{([^{}]*)\}|\{%([^{}%]*)%\}")
_TAG = re.compile(r"(?:if|elsif|unless)\b")
_ADDRESS = re.compile(r"""[^\s@"'<>(),:;]+@[^\s@"'<>(),:;]+""")
_WORDS_ONLY = re.compile(r"[^\W\d][\w ,.!?-]*")
_OPERATORS = {
    "===": "==",
    "!==": "!=",
    "<>": "!=",
    "=>": ">=",
    "=<": "<=",
    "=": "==",
    "&": "&&",
    "|": "||",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
}
_OPERATOR = re.compile(r"===|!==|<>|=>|=<|==|!=|<=|>=|&&|\|\||≥|≤|≠|[=&|]")
_WORDS = {
    "and": "write &&",
    "or": "write ||",
    "not": "write !",
    "is": "compare with ==, as in user.plan == null; has(user.plan) says whether it is there",
    "in": 'write in, with a list in [ ], as in user.plan in ["team", "pro"]',
    "like": 'write .contains("…"), .startsWith("…"), .endsWith("…") or .matches("…")',
    "contains": 'write .contains("…") behind the text; of a list, "x" in user.tags',
    "between": "write both bounds, as in event.total >= 5 && event.total <= 10",
    "then": "write CONDITION ? A : B",
    "if": "write CONDITION ? A : B",
    "equals": "compare with ==",
    "exists": "write has(user.plan)",
}
_CONSTANTS = {
    **dict.fromkeys(("None", "nil", "NULL", "Null", "undefined", "NaN"), "write null, or ask has(…)"),
    **dict.fromkeys(("True", "TRUE", "yes"), "write true"),
    **dict.fromkeys(("False", "FALSE", "no"), "write false"),
}
_DURATION = re.compile(r"(?<![\w.])([0-9]+)([dhms])(?!\w)")
_UNITS = {"d": "days", "h": "hours"}
_IN_LIST = re.compile(r"\bin\s*\([^()]*$")
_LAST_WORD = re.compile(r"([A-Za-z]+)\s*$")


def foreign(text: str, kind: str, problem: SyntaxProblem) -> SyntaxProblem:
    """The problem of the whole expression, if it is a template's syntax or a text without its own quotes.

    `kind` is what the expression should give. Otherwise it is the problem at its place.
    """
    if braces := _BRACES.search(text):
        message = f"{quoted(braces[0])} belongs in a template, not in an expression"
        hint = f"an expression is CEL, without braces: {_BRACES.sub(_inner, text).strip()}"
        return SyntaxProblem("cel-syntax", message, braces.start(), hint)
    is_text = _ADDRESS.fullmatch(text) or (_WORDS_ONLY.fullmatch(text) and " " in text.strip())
    if kind in ("text", "value") and problem.code == "cel-syntax" and is_text:
        message = f"{quoted(text)} is read as an expression, and is none"
        return SyntaxProblem("cel-syntax", message, 0, f"""a text has quotes of its own: '"{text}"'""")
    return problem


def _inner(braces: re.Match[str]) -> str:
    """The text between a template's braces, without filters."""
    inner = next(filter(None, braces.groups()), "")
    return _TAG.sub("", re.split(r"(?<!\|)\|(?!\|)", inner)[0].strip(" \t-"), count=1).strip()


def hint_at(text: str, offset: int, found: str) -> str:
    """What to write instead of `found` at a place of an expression; empty if that is not known."""
    if operator := _operator_around(text, offset):
        return "compare with ==" if operator == "=" else f"write {_OPERATORS[operator]}"
    if meant(text[offset]) is not None:
        return retype(text[offset])
    if found.lower() in _WORDS:
        return _WORDS[found.lower()]
    if amount := _DURATION.search(text[: offset + 2]):
        number, unit = amount[1], amount[2]
        return f"write {_UNITS[unit]}({number})" if unit in _UNITS else f'write duration("{number}{unit}")'
    if found == "," and _IN_LIST.search(text[:offset]):
        return "a list is in [ ], as in [1, 2]"
    before = _LAST_WORD.search(text[:offset])
    if before and before[1].lower() in _WORDS:
        return _WORDS[before[1].lower()]
    if not text[offset].isascii():
        return "names are of the letters a to z, digits and _; a text is in quotes"
    return {"'": "a text is not closed", '"': "a text is not closed", "{": "there are no messages"}.get(found[:1], "")


def shown(text: str, offset: int, found: str) -> str:
    """The name of `found` in a message; for a character outside ASCII it includes the code point."""
    plain = "".join(char if char.isprintable() else "?" for char in found[:20])
    char = text[offset]
    return f"`{plain}`" if char.isascii() else named(char)


def constant(name: str) -> str:
    """What to write for a constant of another language."""
    return _CONSTANTS.get(name, "")


def _operator_around(text: str, offset: int) -> str:
    """The operator of another language at this place."""
    around = (match[0] for match in _OPERATOR.finditer(text) if match.start() <= offset < match.end())
    return next((operator for operator in around if operator in _OPERATORS), "")
