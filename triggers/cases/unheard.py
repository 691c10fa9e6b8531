"""Notes on events of a log that no rule listens to, where a name looks like a mistake."""

import re
from collections import Counter
from collections.abc import Collection

from schemas.wording import counted, quoted
from triggers.checks.misspelling import misspelling_of

_MAX_COMPARED = 100
"""Types that are compared with those that rules listen to, the most frequent: a log may have any number of them."""
_MAX_TOLD = 10
_WORDS = re.compile(r"[^\W_]+")


def unheard_notes(unheard: Counter[str], known: Collection[str], events: int) -> list[str]:
    """A note for each type that no rule listens to and that looks like one of `known`, which rules do listen to; and
    one if none of the events is heard. `unheard` counts the types among that many events."""
    frequent = sorted(unheard.items(), key=lambda each: (-each[1], each[0]))[:_MAX_COMPARED]
    notes = [
        f"no rule listens to {quoted(name)} ({counted(number, 'event')}); did you mean {quoted(meant)}?"
        for name, number in frequent
        if (meant := _meant(name, known))
    ]
    if not notes and known and unheard and unheard.total() == events:
        listened = ", ".join(map(quoted, sorted(known)[:_MAX_TOLD]))
        notes = [
            f"no rule listens to any event of the log, such as {quoted(frequent[0][0])}; rules listen to {listened}"
        ]
    return notes[:_MAX_TOLD]


def _meant(name: str, known: Collection[str]) -> str:
    """The known name that has the same words in another order, or that a name misspells; empty if there is none."""
    words = _words(name)
    return next((each for each in sorted(known) if _words(each) == words), "") or misspelling_of(name, known)


def _words(name: str) -> list[str]:
    return sorted(_WORDS.findall(name.casefold()))
