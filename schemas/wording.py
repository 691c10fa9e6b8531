"""Words and names as messages show them: quoted, counted, and the known name most like a misspelt one."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word most similar to `word`, or lists them all if none is close."""
    names = sorted(known)
    if not names:
        return ""
    close = closest(word, names)
    return f"did you mean `{close}`?" if close else f"known here: {', '.join(names)}"


def closest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The known word most like `word`, if one is at least so alike, from 0 to 1; else nothing."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=likeness)), "")


def counted(number: int, thing: str) -> str:
    """How many there are of a thing, in words: `1 problem`, `2,000 problems`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def quoted(text: str, limit: int = 60) -> str:
    """The text as a message shows it: on one line, cut, in backticks."""
    return f"`{one_line(text)[:limit]}{'…' if len(text) > limit else ''}`"


def one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
