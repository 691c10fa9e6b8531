"""Plain scalars: a file must mean the same under YAML 1.1 and YAML 1.2; what they read differently is refused.

The test is mechanical: each plain scalar is resolved by PyYAML's 1.1 tables and by the 1.2 core schema (YAML 1.2.2,
section 10.3.2). Also here: the position in the file of each character of a scalar's value.
"""

import re

import yaml

Value = str | int | float | bool | None

_CORE_12: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("null", re.compile(r"null|Null|NULL|~|")),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE")),
    ("int", re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    (
        "float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    ),
)
MAX_WHOLE = 10**18 - 1
"""The largest whole number that a case's property may have."""
_PLAIN_INT = re.compile(r"-?(0|[1-9][0-9]{0,99})")
_PLAIN_FLOAT = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,30}")
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?(\.[0-9]+)?")
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}


class Ambiguous(ValueError):
    """A plain scalar that must be written differently; `code` is the diagnostic's."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def resolve(text: str) -> Value:
    """The value of a plain scalar: true, false, null, a decimal number, else text. Raises Ambiguous."""
    if _CLOCK.fullmatch(text):
        raise Ambiguous("yaml-ambiguous", f"the time {text} must be quoted", f'write "{text}"')
    old, new = _kind_11(text), _kind_12(text)
    if old != new or (old == "int" and _octal_11(text)):
        raise Ambiguous(
            "yaml-ambiguous",
            f"YAML 1.1 reads `{text}` as {_kind_name(old, text, 8)}, YAML 1.2 as {_kind_name(new, text, 10)}",
            _hint(text, old, new),
        )
    if new == "str":
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _PLAIN_INT.fullmatch(text):
        return int(text)
    if _PLAIN_FLOAT.fullmatch(text):
        return float(text)
    raise Ambiguous("yaml-number", f"`{text}` is not written plainly", "write a plain decimal, true, false or null")


_KIND_NAMES = {"str": "text", "int": "a number", "float": "a number", "bool": "a boolean", "timestamp": "a date"}


def _kind_name(kind: str, text: str, base: int) -> str:
    if kind == "int" and _octal_11(text):
        digits = text.lstrip("+-")
        return f"the number {int(digits, base)}" if set(digits) <= set("01234567") else "a number"
    return _KIND_NAMES.get(kind, kind)


def _hint(text: str, old: str, new: str) -> str:
    if old == "bool":
        return f'quote it ("{text}"), or write true or false'
    if "int" in (old, new) or "float" in (old, new):
        return f'quote it ("{text}"), or write a plain decimal'
    return f'quote it: "{text}"'


def _kind_11(text: str) -> str:
    table = yaml.SafeLoader.yaml_implicit_resolvers
    for tag, pattern in [*table.get(text[:1], []), *table.get(None, [])]:
        if pattern.match(text):
            return str(tag).rpartition(":")[2]
    return "str"


def _kind_12(text: str) -> str:
    return next((kind for kind, pattern in _CORE_12 if pattern.fullmatch(text)), "str")


def _octal_11(text: str) -> bool:
    digits = text.lstrip("+-")
    return len(digits) > 1 and digits[0] == "0" and digits.isdigit()


_ESCAPES = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "t": "\t",
    "\t": "\t",
    "n": "\n",
    "v": "\v",
    "f": "\f",
    "r": "\r",
    "e": "\x1b",
    " ": " ",
    '"': '"',
    "/": "/",
    "\\": "\\",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}
_HEX = {"x": 2, "u": 4, "U": 8}


def offsets(written: str, value: str, style: str | None) -> list[int]:
    """For each character of `value`, its offset in `written` (the scalar as the file has it, quotes and all).

    Line folding makes one space of a break and its indentation: both map to the break. Where the two texts cannot be
    aligned the list is short, and the caller points at the start.
    """
    step = _double if style == '"' else _single if style == "'" else _verbatim
    at = written.find("\n") + 1 if style in ("|", ">") else 1 if style in ("'", '"') else 0
    found: list[int] = []
    for char in value:
        if char not in " \n":
            at = _past_blanks(written, at)
        if at >= len(written):
            break
        folded = char in " \n" and written[at] in "\r\n"
        length = 1 if folded else step(written, at, char)
        if not length:
            break
        found.append(at)
        at += length
    return found


def _past_blanks(written: str, at: int) -> int:
    while at < len(written) and written[at] in " \r\n":
        at += 1
    return at


def _verbatim(written: str, at: int, char: str) -> int:
    return 1 if written[at] == char else 0


def _single(written: str, at: int, char: str) -> int:
    if written[at] != char:
        return 0
    return 2 if char == "'" else 1


def _double(written: str, at: int, char: str) -> int:
    if written[at] != "\\":
        return 1 if written[at] == char else 0
    mark = written[at + 1 : at + 2]
    if mark in _HEX:
        return 2 + _HEX[mark]
    return 2 if _ESCAPES.get(mark) == char else 0
