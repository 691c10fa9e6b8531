"""What JSON every reader of a fact can keep: orjson reads more than it writes, and PostgreSQL keeps no U+0000.

orjson reads 1024 levels of nesting and writes 254; PostgreSQL's `jsonb` and `text` refuse U+0000. A fact beyond these
bounds is refused where it is decoded, so that no reader accepts what another cannot keep. What else JSON cannot say
(lone surrogates, NaN, numbers beyond a double) orjson refuses itself.
"""

from typing import Any

DEEPEST = 100
"""Levels of nesting in a fact, the fact itself included. What is made of facts (decisions, commands, mails) nests them
a few levels deeper, which stays far below the 254 that orjson writes."""
TOO_DEEP = f"nested deeper than {DEEPEST} levels"
HAS_NUL = "contains U+0000, which the database cannot keep"
_NUL_ESCAPE = b"\\u0000"
"""The only way in which JSON can say U+0000: a raw control character is not JSON."""


def may_hold_nul(raw: bytes) -> bool:
    """Whether JSON text may say U+0000; where this says no, it does not."""
    return _NUL_ESCAPE in raw


def problems(data: Any, raw: bytes) -> dict[str, str]:
    """What cannot be kept of the JSON value of `raw`: by the name of the top-level field, or by `record`."""
    if not may_hold_nul(raw) and raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return {}
    if not isinstance(data, dict):
        problem = problem_of(data, 1)
        return {"record": problem} if problem else {}
    found = {name: problem for name, value in data.items() if (problem := problem_of(value, 2))}
    if any("\0" in name for name in data):
        found = {name: problem for name, problem in found.items() if "\0" not in name} | {"record": HAS_NUL}
    return found


def problem_of(value: Any, level: int) -> str | None:
    """Why a JSON value that stands at a level of nesting cannot be kept; None where it can. It may be of any depth."""
    waiting = [(value, level)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, str):
            if "\0" in value:
                return HAS_NUL
        elif isinstance(value, dict | list):
            if level > DEEPEST:
                return TOO_DEEP
            if isinstance(value, dict):
                if any("\0" in name for name in value):
                    return HAS_NUL
                value = value.values()
            waiting += [(each, level + 1) for each in value]
    return None
