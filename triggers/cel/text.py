"""Functions of texts: CEL's own, and those of the strings extension that Python's methods can implement.

Positions count code points. Each function checks the types of its arguments, which are known only at run time.
"""

from typing import Any

import re2

from triggers.cel.runtime import MAX_ITEMS, MAX_TEXT
from triggers.cel.values import EvaluationError, Uint, kind

MAX_PATTERN = 1_000
MAX_SEARCHED = 20_000
"""The maximum length of a text to search for a pattern. RE2 is linear, yet a pattern can be slow for each character."""
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20
"""Maximum bytes for a compiled pattern and its automaton; nested repetitions would take far more."""
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def _texts(name: str, *values: Any) -> None:
    for value in values:
        if value.__class__ is not str:
            raise EvaluationError(f"no such operation: {name}() of a {kind(value)}")


def _whole(name: str, *values: Any) -> None:
    for value in values:
        if value.__class__ not in (int, Uint) and not (value.__class__ is float and value.is_integer()):
            raise EvaluationError(f"{name}() needs whole numbers, not a {kind(value)}")


def contains(text: Any, part: Any) -> bool:
    """`text.contains(part)`."""
    _texts("contains", text, part)
    return part in text


def starts_with(text: Any, part: Any) -> bool:
    """`text.startsWith(part)`."""
    _texts("startsWith", text, part)
    return bool(text.startswith(part))


def ends_with(text: Any, part: Any) -> bool:
    """`text.endsWith(part)`."""
    _texts("endsWith", text, part)
    return bool(text.endswith(part))


def pattern(text: str) -> Any:
    """A regular expression of RE2's syntax, compiled; raises EvaluationError."""
    if len(text) > MAX_PATTERN:
        raise EvaluationError(f"a pattern of more than {MAX_PATTERN} characters")
    try:
        return re2.compile(text, _OPTIONS)
    except re2.error as error:
        cause = error.args[0] if error.args else b""
        reason = cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
        raise EvaluationError(f"invalid RE2 pattern: {reason}") from None


def found(text: Any, compiled: Any) -> bool:
    """`text.matches(pattern)`: whether the pattern is anywhere in the text."""
    _texts("matches", text)
    if len(text) > MAX_SEARCHED:
        raise EvaluationError(f"matches() of a text of more than {MAX_SEARCHED} characters")
    return compiled.search(text) is not None


def matches(text: Any, written: Any) -> bool:
    """`text.matches(pattern)` with a pattern from the data."""
    _texts("matches", text, written)
    return found(text, pattern(written))


def lower(text: Any) -> str:
    """`text.lowerAscii()`."""
    _texts("lowerAscii", text)
    return str(text.translate(_LOWER))


def upper(text: Any) -> str:
    """`text.upperAscii()`."""
    _texts("upperAscii", text)
    return str(text.translate(_UPPER))


def trim(text: Any) -> str:
    """`text.trim()`: without surrounding white space."""
    _texts("trim", text)
    return str(text.strip(_WHITE))


_WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
_WHITE += "\u2028\u2029\u202f\u205f\u3000"


def reverse(text: Any) -> str:
    """`text.reverse()`."""
    _texts("reverse", text)
    return str(text[::-1])


def char_at(text: Any, index: Any) -> str:
    """`text.charAt(index)`; at the end it is the empty text."""
    _texts("charAt", text)
    _whole("charAt", index)
    if not 0 <= index <= len(text):
        raise EvaluationError("charAt() outside the text")
    return str(text[int(index) : int(index) + 1])


def index_of(text: Any, part: Any, start: Any = 0) -> int:
    """`text.indexOf(part, start)`, or -1 if it is not found."""
    _texts("indexOf", text, part)
    _whole("indexOf", start)
    if part and not 0 <= start <= len(text):
        raise EvaluationError("indexOf() outside the text")
    return int(text.find(part, int(start))) if part else int(start)


def last_index_of(text: Any, part: Any, end: Any = None) -> int:
    """`text.lastIndexOf(part, end)`: the last that begins at `end` or before, or -1 if there is none."""
    _texts("lastIndexOf", text, part)
    if end is None:
        return int(text.rfind(part))
    _whole("lastIndexOf", end)
    if part and not 0 <= end <= len(text):
        raise EvaluationError("lastIndexOf() outside the text")
    return int(text.rfind(part, 0, int(end) + len(part))) if part else int(end)


def substring(text: Any, start: Any, end: Any = None) -> str:
    """`text.substring(start, end)`."""
    _texts("substring", text)
    last = len(text) if end is None else end
    _whole("substring", start, last)
    if not 0 <= start <= last <= len(text):
        raise EvaluationError("substring() outside the text")
    return str(text[int(start) : int(last)])


def replace(text: Any, old: Any, new: Any, limit: Any = -1) -> str:
    """`text.replace(old, new, limit)`; a limit below 0 is none."""
    _texts("replace", text, old, new)
    _whole("replace", limit)
    count = text.count(old) if limit < 0 else min(int(limit), text.count(old))
    _within(len(text) + count * (len(new) - len(old)), MAX_TEXT, "characters")
    return str(text.replace(old, new, count))


def split(text: Any, separator: Any, limit: Any = -1) -> list[str]:
    """`text.split(separator, limit)`; a limit below 0 is none."""
    _texts("split", text, separator)
    _whole("split", limit)
    if limit == 0:
        return []
    parts = text.count(separator) + 1 if separator else len(text)
    _within(min(parts, int(limit)) if limit > 0 else parts, MAX_ITEMS, "items")
    if separator:
        return list(text.split(separator, int(limit) - 1 if limit > 0 else -1))
    if 0 < limit < len(text):
        return [*text[: int(limit) - 1], text[int(limit) - 1 :]]
    return list(text)


def join(items: Any, separator: Any = "") -> str:
    """`list.join(separator)` of a list of texts."""
    if items.__class__ is not list:
        raise EvaluationError(f"no such operation: join() of a {kind(items)}")
    _texts("join", separator, *items)
    _within(sum(map(len, items)) + len(separator) * len(items), MAX_TEXT, "characters")
    return str(separator.join(items))


def _within(number: int, limit: int, what: str) -> None:
    if number > limit:
        raise EvaluationError(f"more than {limit} {what} put together")
