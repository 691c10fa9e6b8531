"""What is doubtful in cases, where no event catalogue says which events and properties there are.

A case that gives a misspelt event and expects nothing passes, and shows nothing. Only what looks like a slip is told.
"""

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Mapping as AbstractMapping

from schemas.vocabulary import OutcomeKind
from schemas.wording import quoted
from triggers.checks.misspelling import misspelling_of
from triggers.language.document_reader import DocumentReader
from triggers.language.yaml_tree import MappingNode

_WRAPPERS = ("data", "properties", "payload", "attributes")


Doubt = tuple[int, str, str, str]
"""Where it is, its code, what to say, and a hint."""


def check_case_mistakes(documents: Sequence[DocumentReader], scores: Collection[str]) -> None:
    """Notes in each document's report what its cases give that does nothing and looks like a slip: events named almost
    as one that is listened to, properties under a key of their own, and attributes named as a score.
    """
    slips = _slips(documents)
    texts = [use.condition.text for document in documents for use in document.expressions.uses]
    for document in documents:
        for doubt in (*_misspelt(document, slips), *_as_attributes(document, scores, texts), *_nested(document, texts)):
            document.report.add(*doubt)


def _slips(documents: Sequence[DocumentReader]) -> dict[str, str]:
    """By each misspelt event what to do about it."""
    listeners = {name: _place(document, index) for document in documents for name, index in document.references.events}
    heard = set(listeners) | {f"email.{kind.value}" for kind in OutcomeKind}
    given = {name for document in documents for name, _ in document.references.case_events}
    slips = {name: like for name in given - heard if (like := misspelling_of(name, heard))}
    listen = {name: f", which {listeners[like]} listens to" for name, like in slips.items() if like in listeners}
    return {
        name: f"did you mean {quoted(like)}{listen.get(name, '')}? If there are both, list the events in events.yaml"
        for name, like in slips.items()
    }


def _misspelt(document: DocumentReader, slips: AbstractMapping[str, str]) -> Iterator[Doubt]:
    places: dict[str, list[int]] = {}
    for name, index in document.references.case_events:
        if name in slips:
            places.setdefault(name, []).append(index)
    for name, indexes in places.items():
        where = "in this case" if len(indexes) == 1 else f"here and in {len(indexes) - 1} more of its places"
        message = f"no rule here listens to {quoted(name)}, so it does nothing {where}"
        yield indexes[0], "unheard-event", message, slips[name]


def _as_attributes(document: DocumentReader, scores: Collection[str], texts: Sequence[str]) -> Iterator[Doubt]:
    for name, index in document.references.attributes:
        if name in scores and not any(f"user.{name}" in text for text in texts):
            message = f"{quoted(name)} is an attribute of the user here, and not the score of that name"
            yield index, "score-as-attribute", message, f"for the score: user: {{score: {{{name}: …}}}}"


def _nested(document: DocumentReader, texts: Sequence[str]) -> Iterator[Doubt]:
    for event, values in document.references.given:
        for index, key, inner in _wrapped(values, texts):
            message = f"{quoted(key)} is itself a property here: `event.NAME` does not look into it"
            yield (
                index,
                "nested-properties",
                message,
                f"write the properties side by side, as in {event}: {{{inner}: …}}",
            )


def _place(document: DocumentReader, index: int) -> str:
    found = document.report.at(index, "", "")
    return f"{found.path}:{found.line}"


def _wrapped(values: MappingNode, texts: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """The one property that holds all others, with the first of them; none where an expression looks into it."""
    if len(values.items) != 1:
        return
    [(key, value)] = values.items.items()
    looked_into = key != "properties" and any(f".{key}" in text for text in texts)
    if key in _WRAPPERS and isinstance(value, MappingNode) and value.items and not looked_into:
        yield values.keys[key].index, key, next(iter(value.items))
