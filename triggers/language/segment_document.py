"""The document `segment`."""

import hashlib
import math
from typing import cast

from triggers.cel import types as cel_types
from triggers.cel.conditions import Condition
from triggers.cel.syntax import parse
from triggers.cel.tree import Binary, Expr, Literal, Name, Select, children
from triggers.language import values
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import DocumentReader
from triggers.language.level_sources import LEAST, MOST
from triggers.language.yaml_tree import Node, ScalarNode
from triggers.rules.rule import Segment

_MEMBERS = ("user", "score", "metric", "now")
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def read_segment(document: DocumentReader, node: Node) -> Segment | None:
    """The document of one segment."""
    mapping = document.mapping(node, "segment", "segment")
    name = mapping.required("segment", lambda n: values.identifier(n, "a segment's name"), "")
    when = mapping.required("when", lambda n: _when(document, n), None)
    return Segment(name, _key(name, when[0]), *when) if when is not None else None


def _key(name: str, condition: Condition) -> str:
    return f"{name}#{hashlib.blake2b(condition.text.encode('utf-8', 'replace'), digest_size=4).hexdigest()}"


def _when(document: DocumentReader, node: Node) -> tuple[Condition, tuple[tuple[str, float], ...]]:
    condition = document.expressions.compile(node, "when", "truth", _MEMBERS)
    return condition, _score_lines(condition, cast(ScalarNode, node))


def _score_lines(condition: Condition, node: ScalarNode) -> tuple[tuple[str, float], ...]:
    """The lines with which the condition compares scores; raises Problem where it uses one in another way.

    A score falls all the time. Only where it is compared with a written number is there an instant at which the
    condition changes, and none before.
    """
    lines: set[tuple[str, float]] = set()
    waiting: list[Expr] = [parse(condition.text)]
    while waiting:
        tree = waiting.pop()
        compared = _comparison(tree)
        if compared is not None:
            name, number, operator = compared
            if not LEAST <= number <= MOST:
                bounds = f"from {LEAST:g} to {MOST:g}"
                raise _unfit(f"`score.{name}` is compared with a number {bounds}", tree, node)
            # `>` and `<=` say whether the score is below the next number that a double can be
            lines.add((name, float(number) if operator in (">=", "<") else math.nextafter(number, math.inf)))
        elif _score(tree) is not None:
            raise _unfit(f"`score.{_score(tree)}` in a segment must be compared with a number", tree, node)
        else:
            waiting += children(tree)
    return tuple(sorted(lines))


def _comparison(tree: Expr) -> tuple[str, float, str] | None:
    """The score, the number and the operator of `score.x >= 2`, or of the same the other way round."""
    if not isinstance(tree, Binary) or tree.operator not in cel_types.COMPARISONS:
        return None
    score, number, operator = tree.left, tree.right, tree.operator
    if isinstance(score, Literal):
        score, number, operator = number, score, _MIRRORED[operator]
    name = _score(score)
    if name is None or not isinstance(number, Literal) or not isinstance(number.value, int | float):
        return None
    return name, number.value, operator


def _score(tree: Expr) -> str | None:
    """The name of the score that a node reads."""
    if isinstance(tree, Select) and isinstance(tree.operand, Name) and tree.operand.name == "score":
        return tree.field
    return None


def _unfit(message: str, tree: Expr, node: ScalarNode) -> Problem:
    place = node.place_of(tree.offset)
    hint = "as in score.engagement >= 2; else no instant is known at which it changes"
    return Problem(place, "segment-score", f"when: {message}", hint)
