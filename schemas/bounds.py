"""The limits on JSON that every reader can store.

orjson reads 1024 levels of nesting and writes 254; PostgreSQL's `jsonb` and `text` refuse U+0000. A fact beyond these
limits is refused when it is decoded, so that no reader accepts what another cannot store. orjson itself refuses lone
surrogates, NaN and numbers beyond a double.
"""

from typing import Any

DEEPEST = 100
"""Levels of nesting in a fact, itself included. Decisions, commands and mails nest facts a few levels deeper, which
stays far below the 254 that orjson writes."""
TOO_DEEP = f"nested deeper than {DEEPEST} levels"
HAS_NUL = "contains U+0000, which the database cannot keep"
_NUL_ESCAPE = b"\\u0000"
"""The only spelling of U+0000 in JSON, where raw control characters are invalid."""


def may_hold_nul(raw: bytes) -> bool:
    """Whether JSON text may contain U+0000. False is certain."""
    return _NUL_ESCAPE in raw


def problems(data: Any, raw: bytes) -> dict[str, str]:
    """What cannot be stored of the JSON value of `raw`, by the name of the top-level field or by `record`."""
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
    """Why a JSON value at this level of nesting cannot be stored; None if it can. The value may have any depth."""
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
