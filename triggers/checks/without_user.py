"""Events that concern no user, as the catalogue names them: who hears them, at which cost, and who never does."""

from collections.abc import Iterator, Sequence

from schemas.wording import quoted
from triggers.language.catalogue_document import Catalogue
from triggers.language.diagnostics import Diagnostic
from triggers.language.document_reader import DocumentReader

_COST = "each one is read in every partition, and costs as much as an event of every user whom it meets"
_BY_SAME = "only an `unless` or a `wait_for` with `same` hears it, as in {{event: {name}, same: product_id}}"


def warn_of_the_unheard(catalogue: Catalogue, document: DocumentReader) -> None:
    """Warns where a document listens to an event without a user by something that hears only events of users."""
    references = document.references
    for name, index in references.events:
        if name in catalogue.without_user and index not in references.by_same:
            message = f"{quoted(name)} has no user, so this never hears it"
            document.report.add(index, "never-heard", message, _BY_SAME.format(name=name))


def broadcast_notes(catalogue: Catalogue, documents: Sequence[DocumentReader]) -> Iterator[Diagnostic]:
    """A note on the cost, wherever a document waits for an event without a user."""
    for document in documents:
        for name, index in document.references.events:
            if name in catalogue.without_user and index in document.references.by_same:
                yield document.report.at(index, "broadcast", f"{quoted(name)} has no user: {_COST}", "")
