"""What is doubtful in cases, where no event catalogue says which events and properties there are.

A case that gives a misspelt event and expects nothing passes, and shows nothing. Only what looks like a slip is told.
"""

import re
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as AbstractMapping

from schemas.vocabulary import OutcomeKind
from triggers.diagnostics import closest, quoted
from triggers.parts import Parts
from triggers.yaml_tree import Mapping

_NEAR = 0.86
"""Nearer than `signed_out` is to `signed_up`, and `order_paid` to `order_placed`, which are events of their own."""
_SIGNS = re.compile(r"[_.:/-]")
_OPPOSITES = re.compile(r"\d+|(?<![a-z])un")
"""What tells apart names that are meant to be alike: `step_1` and `step_2`, `subscribed` and `unsubscribed`."""
_WRAPPERS = ("data", "properties", "payload", "attributes")


def find_case_doubts(documents: Sequence[Parts]) -> None:
    """Notes in each document's report what its cases give that does nothing and looks like a slip: events named almost
    as one that is listened to, and properties under a key of their own.
    """
    heard = {name for parts in documents for name, _ in parts.references.events}
    heard |= {f"email.{kind.value}" for kind in OutcomeKind}
    given = {name for parts in documents for name, _ in parts.references.case_events}
    letters = {_letters(name): name for name in sorted(heard)}
    slips = {name: meant for name in given - heard if (meant := _meant(name, letters))}
    texts = [use.condition.text for parts in documents for use in parts.expressions.uses]
    for parts in documents:
        for name, index in parts.references.case_events:
            if name in slips:
                message = f"no rule here listens to {quoted(name)}, so it does nothing in this case"
                hint = f"did you mean {quoted(slips[name])}? If there are both, list the events in events.yaml"
                parts.report.add(index, "unheard-event", message, hint)
        for event, values in parts.references.given:
            for index, key, inner in _wrapped(values, texts):
                message = f"{quoted(key)} is itself a property here: `event.NAME` does not look into it"
                hint = f"write the properties side by side, as in {event}: {{{inner}: …}}"
                parts.report.add(index, "nested-properties", message, hint)


def _letters(name: str) -> str:
    return _SIGNS.sub("", name).casefold()


def _meant(name: str, heard: AbstractMapping[str, str]) -> str:
    """Which event a misspelt name means, or nothing where it may well be an event of its own.

    `heard` are the events that are listened to, by their letters.
    """
    meant = heard.get(_letters(name)) or closest(name, heard.values(), _NEAR)
    return "" if _OPPOSITES.sub("", name) == _OPPOSITES.sub("", meant) else meant


def _wrapped(values: Mapping, texts: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """The one property that holds all others, with the first of them; none where an expression looks into it."""
    if len(values.items) != 1:
        return
    [(key, value)] = values.items.items()
    looked_into = key != "properties" and any(f".{key}" in text for text in texts)
    if key in _WRAPPERS and isinstance(value, Mapping) and value.items and not looked_into:
        yield values.keys[key].index, key, next(iter(value.items))
