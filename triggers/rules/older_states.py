"""What earlier versions wrote of a user's state, as the sections of the newest version.

Version 3 was a JSON array of sections by position, empty ones 0 and those at the end left out, everything written out,
behind the same nine bytes. Version 2 had fewer sections and kept counts in windows with the scores. Version 1 was JSON
throughout, and begins with `[`.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import orjson

IN_JSON = (2, 3)
FIRST_BYTE = ord("[")
_HEAD_BYTES = 9
_NAMES = (
    *("profile", "consent", "suppressed", "address_digest", "seen", "scores", "levels", "running", "entries"),
    *("endings", "reservations", "sent", "goals", "windows", "segments", "plans", "links"),
)
_COUNT = 5
"""How many parts a count of versions 1 and 2 has, its instants fifth; a score has fewer."""


def sections(raw: bytes) -> dict[str, Any] | None:
    """What is not empty of a state of versions 1 to 3, as `encoding.Packed` names it; None for any other version."""
    if raw[0] in IN_JSON:
        found = orjson.loads(memoryview(raw)[_HEAD_BYTES:])
    elif raw[0] == FIRST_BYTE:
        first, *found = orjson.loads(raw) or [None]
        if first != 1:
            return None
    else:
        return None
    named = {name: section for name, section in zip(_NAMES, found, strict=False) if section}
    for name, upgrade in _UPGRADES.items():
        if name in named:
            named[name] = upgrade(named[name])
    if "plans" in named:
        named["planned_by"], plans = named["plans"]
        named["plans"] = {name: [due, day, fired] for name, (due, day, *fired) in plans.items()}
    if raw[0] != IN_JSON[-1]:
        _take_out_counts(named)
    return named


def _take_out_counts(named: dict[str, Any]) -> None:
    scores = named.get("scores", {})
    counts = {name: each for name, each in scores.items() if len(each) == _COUNT}
    named["scores"] = {name: each for name, each in scores.items() if name not in counts}
    named["windows"] = {name: [each[4], [], [], {}, {}, each[2]] for name, each in counts.items()}


def _window(packed: list[Any]) -> list[Any]:
    """A window's parts by position, empty ones at the end left out; the instants as the first and the steps between."""
    instants, last_event, amounts, values, cells, folded = packed + [0] * (6 - len(packed))
    by_number = {number: cell for number, *cell in cells or ()}
    return [list(accumulate(instants or ())), amounts or [], values or [], by_number, folded or {}, last_event or ""]


def _running(packed: list[Any]) -> list[Any]:
    trigger, rule_hash, name, key, key_text, began, event, entered_at, variant, step, due, wake, *rest = packed
    held, since = [*rest, None][:2]
    return [trigger, rule_hash, key, event, variant, step, due, name, key_text, began, entered_at, wake, held, since]


def _membership(packed: int | list[int]) -> list[Any]:
    inside, *due = packed if isinstance(packed, list) else [packed]
    return [bool(inside), *due]


_UPGRADES: dict[str, Callable[[Any], Any]] = {
    "suppressed": bool,
    "running": lambda several: [_running(each) for each in several],
    "windows": lambda windows: {key: _window(each) for key, each in windows.items()},
    "segments": lambda asked: {key: _membership(each) for key, each in asked.items()},
}
