"""Patterns over replies: RE2, so that hostile text costs no more than its length. Bounded in size and memory."""

import re
from typing import Any

import re2

MAX_PATTERN = 1024
"""Bytes of one pattern."""
MAX_REPLY = 1024
"""Characters of a reply that a pattern sees."""
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20
"""Most bytes of a compiled pattern with its automaton: nested repetitions would take far more, and are refused."""
_FIRST, _LAST = b"4", b"5999"
"""A reply that refuses begins with its code, from 400 to 599."""
_ANCHORED = re.compile(r"(?:\(\?[a-zA-Z]+\))?(?:\^|\\A)")
_LITERAL = re.compile(r"(?:[^\\.^$|?*+()\[\]{}]|\\[^A-Za-z0-9])+")


class ReplyPattern:
    """One compiled pattern. It is searched for in `CODE ENHANCED TEXT` on one line, as in `421 4.7.0 Try again`."""

    def __init__(self, text: str) -> None:
        """Raises ValueError that says why the pattern cannot be used."""
        if len(text.encode("utf-8", "surrogatepass")) > MAX_PATTERN:
            raise ValueError(f"a pattern longer than {MAX_PATTERN} bytes")
        try:
            self._compiled: Any = re2.compile(text, _OPTIONS)
        except (re2.error, UnicodeError) as error:
            raise ValueError(f"not a pattern of RE2: {_reason(error)}") from None
        self.text = text
        if self._compiled.search("") is not None:
            raise ValueError("it matches every reply; name words of the reply that is meant")
        if _ANCHORED.match(text) and self._begins_otherwise():
            raise ValueError("it can never match: a reply begins with its code, as in `^421 4.7.0 Try again`")

    def found_in(self, reply: str) -> bool:
        """Whether the pattern is anywhere in the first part of a reply."""
        return self._compiled.search(reply[:MAX_REPLY]) is not None

    def _begins_otherwise(self) -> bool:
        """Whether no text that the pattern matches begins like a refusal."""
        first, last = self._compiled.possiblematchrange(8)
        return bool(first > _LAST or last < _FIRST)


def literal_of(pattern: str) -> str | None:
    """The text that a pattern stands for, if it has no operators."""
    return re.sub(r"\\(.)", r"\1", pattern) if _LITERAL.fullmatch(pattern) else None


def _reason(error: Exception) -> str:
    cause = error.args[0] if isinstance(error, re2.error) and error.args else "text that is not Unicode"
    return cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
