"""The highest cost of the expressions of each document, in steps: see `triggers.cel.cost`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from triggers.cel.cost import MAX_COST
from triggers.language.diagnostics import Diagnostic
from triggers.language.document_reader import DocumentReader
from triggers.language.expressions import ExpressionUse
from triggers.language.yaml_tree import MappingNode, ScalarNode

NEAR = MAX_COST // 2
"""An expression above this gets a note: with one more nested list, the rule would not load."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The highest cost of one document's expressions. The place is that of the costliest."""

    document: str
    """Its kind and name."""
    path: str
    line: int
    column: int
    dearest: int
    """The steps of its costliest expression. Each expression may have MAX_COST."""
    total: int
    """The steps of all its expressions, each evaluated once."""
    expressions: int


def costs(documents: Sequence[tuple[DocumentReader, MappingNode]]) -> list[Cost]:
    """The cost of each document that has expressions, the costliest first."""
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
    """A note on each expression that comes close to the limit."""
    for document in documents:
        for use in document.expressions.uses:
            if _steps(use) > NEAR:
                message = f"this may take {_steps(use):,} steps of the {MAX_COST:,} that an expression may"
                hint = "nested macros multiply; a literal list counts with its length"
                yield document.report.at(use.node.index, "costly-expression", message, hint)


def _steps(use: ExpressionUse) -> int:
    return use.condition.code.cost
