"""What the expressions of each document cost at most, in steps: see `triggers.cel.cost`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from triggers.cel.cost import MAX_COST
from triggers.language.diagnostics import Diagnostic
from triggers.language.document_reader import DocumentReader
from triggers.language.expressions import ExpressionUse
from triggers.language.yaml_tree import MappingNode, ScalarNode

NEAR = MAX_COST // 2
"""An expression that may take more than this is noted: one list more within another, and the rule would not load."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one document's expressions cost at most; the place is that of the dearest."""

    document: str
    """Its kind and name."""
    path: str
    line: int
    column: int
    dearest: int
    """The steps of its dearest expression, of which each may have MAX_COST."""
    total: int
    """The steps of all its expressions, each evaluated once."""
    expressions: int


def costs(documents: Sequence[tuple[DocumentReader, MappingNode]]) -> list[Cost]:
    """The cost of each document that has expressions, the dearest first."""
    found = [_cost(document, node) for document, node in documents if document.expressions.uses]
    return sorted(found, key=lambda each: (-each.dearest, each.document))


def _cost(document: DocumentReader, node: MappingNode) -> Cost:
    uses = document.expressions.uses
    dearest = max(uses, key=_steps)
    kind, name = next(iter(node.items.items()))
    place = document.report.at(dearest.node.index, "", "")
    named = f"{kind} {name.text if isinstance(name, ScalarNode) else ''}"
    return Cost(named, place.path, place.line, place.column, _steps(dearest), sum(map(_steps, uses)), len(uses))


def cost_notes(documents: Sequence[DocumentReader]) -> Iterator[Diagnostic]:
    """A note on each expression that comes near to what one may cost."""
    for document in documents:
        for use in document.expressions.uses:
            if _steps(use) > NEAR:
                message = f"this may take {_steps(use):,} steps of the {MAX_COST:,} that an expression may"
                hint = "macros within each other multiply; a list that is written out counts with its length"
                yield document.report.at(use.node.index, "costly-expression", message, hint)


def _steps(use: ExpressionUse) -> int:
    return use.condition.code.cost
