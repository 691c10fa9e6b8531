"""Likely mistakes in cases, if no event catalogue says which events and properties exist.

A case that gives a misspelt event and expects nothing passes, and proves nothing.
"""

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Mapping as AbstractMapping

from schemas.vocabulary import OUTCOME_EVENTS
from schemas.wording import quoted
from triggers.checks.misspelling import misspelling_of
from triggers.language.document_reader import DocumentReader
from triggers.language.yaml_tree import MappingNode

_WRAPPERS = ("data", "properties", "payload", "attributes")


Finding = tuple[int, str, str, str]
"""Index in the file, code, message and hint."""


def check_case_mistakes(documents: Sequence[DocumentReader], scores: Collection[str]) -> None:
    """Warns of given events with a name close to a rule's event, of properties under an extra key, and of attributes
    with the name of a score.
    """
    hints = _misspelt_events(documents)
    texts = [use.condition.text for document in documents for use in document.expressions.uses]
    for document in documents:
        for finding in (
            *_misspelt(document, hints),
            *_as_attributes(document, scores, texts),
            *_nested(document, texts),
        ):
            document.report.add(*finding)


def _misspelt_events(documents: Sequence[DocumentReader]) -> dict[str, str]:
    """A hint for each misspelt event."""
    listeners = {name: _place(document, index) for document in documents for name, index in document.references.events}
    known = set(listeners) | OUTCOME_EVENTS
    given = {name for document in documents for name, _ in document.references.case_events}
    similar = {name: like for name in given - known if (like := misspelling_of(name, known))}
    listen = {name: f", which {listeners[like]} listens to" for name, like in similar.items() if like in listeners}
    return {
        name: f"did you mean {quoted(like)}{listen.get(name, '')}? If both exist, list the events in events.yaml"
        for name, like in similar.items()
    }


def _misspelt(document: DocumentReader, hints: AbstractMapping[str, str]) -> Iterator[Finding]:
    places: dict[str, list[int]] = {}
    for name, index in document.references.case_events:
        if name in hints:
            places.setdefault(name, []).append(index)
    for name, indexes in places.items():
        where = "in this case" if len(indexes) == 1 else f"here and in {len(indexes) - 1} more places"
        message = f"no rule here listens to {quoted(name)}, so it does nothing {where}"
        yield indexes[0], "unheard-event", message, hints[name]


def _as_attributes(document: DocumentReader, scores: Collection[str], texts: Sequence[str]) -> Iterator[Finding]:
    for name, index in document.references.attributes:
        if name in scores and not any(f"user.{name}" in text for text in texts):
            message = f"{quoted(name)} is an attribute of the user here, and not the score of that name"
            yield index, "score-as-attribute", message, f"for the score: user: {{score: {{{name}: …}}}}"


def _nested(document: DocumentReader, texts: Sequence[str]) -> Iterator[Finding]:
    for event, values in document.references.given:
        for index, key, inner in _wrapped(values, texts):
            message = f"{quoted(key)} is itself a property here: `event.NAME` does not look into it"
            yield (
                index,
                "nested-properties",
                message,
                f"write the properties directly, as in {event}: {{{inner}: …}}",
            )


def _place(document: DocumentReader, index: int) -> str:
    found = document.report.at(index, "", "")
    return f"{found.path}:{found.line}"


def _wrapped(values: MappingNode, texts: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """The one property that contains all others, with the first of them; none if an expression reads inside it."""
    if len(values.items) != 1:
        return
    [(key, value)] = values.items.items()
    looked_into = key != "properties" and any(f".{key}" in text for text in texts)
    if key in _WRAPPERS and isinstance(value, MappingNode) and value.items and not looked_into:
        yield values.keys[key].index, key, next(iter(value.items))
