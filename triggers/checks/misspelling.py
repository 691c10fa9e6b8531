"""Names that look like a misspelling of another name: `order_complted` for `order_completed`.

Names that people make similar on purpose are not misspellings: `step_1` and `step_2`, `subscribed` and `unsubscribed`,
`newsletter_en` and `newsletter_es`, `marketing` and `remarketing`.
"""

import re
from collections.abc import Iterable

from schemas.wording import closest

_NEAR = 0.86
"""Closer than `signed_out` is to `signed_up`, and `order_paid` to `order_placed`, which are separate events."""
_NEAR_WORD = 0.8
"""In a name of several words each word must be this close: short words have few letters to differ in."""
_SIGNS = re.compile(r"[_.:/-]")
_OPPOSITES = re.compile(r"\d+|(?<![a-z])un")
_SHORTEST_PREFIX = 2


def misspelling_of(name: str, known: Iterable[str]) -> str:
    """The known name that a name misspells; empty if it is likely a separate name."""
    others = sorted(set(known) - {name})
    by_letters = {_letters(other): other for other in others}
    found = by_letters.get(_letters(name)) or closest(name, others, _NEAR)
    return "" if not found or _of_its_own(name, found) else found


def _letters(name: str) -> str:
    return _SIGNS.sub("", name).casefold()


def _of_its_own(name: str, other: str) -> bool:
    if _letters(name) == _letters(other):
        return False
    if _OPPOSITES.sub("", name) == _OPPOSITES.sub("", other) or _extends(name, other) or _extends(other, name):
        return True
    parts, others = _SIGNS.split(name), _SIGNS.split(other)
    return len(parts) == len(others) and not all(
        mine == theirs or closest(mine, [theirs], _NEAR_WORD) for mine, theirs in zip(parts, others, strict=True)
    )


def _extends(longer: str, shorter: str) -> bool:
    """Whether a name is another one with a word before or after it."""
    if longer.endswith(shorter):
        return len(longer) - len(shorter) >= _SHORTEST_PREFIX
    return longer.startswith(shorter) and bool(_SIGNS.match(longer, len(shorter)))
