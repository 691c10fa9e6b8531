"""What is doubtful in cases, where no event catalogue says which events and properties there are.

A case that gives a misspelt event and expects nothing passes, and shows nothing. Only what looks like a slip is told.
"""

import re
from collections.abc import Collection, Iterator, Sequence
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


Doubt = tuple[int, str, str, str]
"""Where it is, its code, what to say, and a hint."""


def find_case_doubts(documents: Sequence[Parts], scores: Collection[str]) -> None:
    """Notes in each document's report what its cases give that does nothing and looks like a slip: events named almost
    as one that is listened to, properties under a key of their own, and attributes named as a score.
    """
    slips = _slips(documents)
    texts = [use.condition.text for parts in documents for use in parts.expressions.uses]
    for parts in documents:
        for doubt in (*_misspelt(parts, slips), *_as_attributes(parts, scores, texts), *_nested(parts, texts)):
            parts.report.add(*doubt)


def _slips(documents: Sequence[Parts]) -> dict[str, str]:
    """By each misspelt event what to do about it."""
    listeners = {name: _place(parts, index) for parts in documents for name, index in parts.references.events}
    heard = set(listeners) | {f"email.{kind.value}" for kind in OutcomeKind}
    given = {name for parts in documents for name, _ in parts.references.case_events}
    letters = {_letters(name): name for name in sorted(heard)}
    slips = {name: meant for name in given - heard if (meant := _meant(name, letters))}
    listen = {name: f", which {listeners[meant]} listens to" for name, meant in slips.items() if meant in listeners}
    return {
        name: f"did you mean {quoted(meant)}{listen.get(name, '')}? If there are both, list the events in events.yaml"
        for name, meant in slips.items()
    }


def _misspelt(parts: Parts, slips: AbstractMapping[str, str]) -> Iterator[Doubt]:
    places: dict[str, list[int]] = {}
    for name, index in parts.references.case_events:
        if name in slips:
            places.setdefault(name, []).append(index)
    for name, indexes in places.items():
        where = "in this case" if len(indexes) == 1 else f"here and in {len(indexes) - 1} more of its places"
        message = f"no rule here listens to {quoted(name)}, so it does nothing {where}"
        yield indexes[0], "unheard-event", message, slips[name]


def _as_attributes(parts: Parts, scores: Collection[str], texts: Sequence[str]) -> Iterator[Doubt]:
    for name, index in parts.references.attributes:
        if name in scores and not any(f"user.{name}" in text for text in texts):
            message = f"{quoted(name)} is an attribute of the user here, and not the score of that name"
            yield index, "score-as-attribute", message, f"for the score: user: {{score: {{{name}: …}}}}"


def _nested(parts: Parts, texts: Sequence[str]) -> Iterator[Doubt]:
    for event, values in parts.references.given:
        for index, key, inner in _wrapped(values, texts):
            message = f"{quoted(key)} is itself a property here: `event.NAME` does not look into it"
            yield (
                index,
                "nested-properties",
                message,
                f"write the properties side by side, as in {event}: {{{inner}: …}}",
            )


def _place(parts: Parts, index: int) -> str:
    found = parts.report.at(index, "", "")
    return f"{found.path}:{found.line}"


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
