"""The expressions of one document, compiled, and the names that a document expects others to define."""

from collections.abc import Collection
from dataclasses import dataclass, field

from triggers.cel.conditions import Condition, Kind, compile_condition, unguarded_negations
from triggers.cel.tree import SyntaxProblem
from triggers.cel.writer import Scope
from triggers.language import values
from triggers.language.diagnostics import Problem, Report
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode


@dataclass(slots=True)
class ExpressionUse:
    """One expression and where it stands, for checks that need the whole set."""

    condition: Condition
    node: ScalarNode
    arriving: bool
    """Whether `event` is the arriving event, and not the entry event."""
    events: tuple[str, ...] = ()
    """The types that the arriving event may have; none where `event` is the entry event."""


@dataclass(slots=True)
class References:
    """Names that a document uses and another document defines: (name, index in the file)."""

    scores: list[tuple[str, int]] = field(default_factory=list)
    metrics: list[tuple[str, str, int]] = field(default_factory=list)
    """(name, field, index)."""
    segments: list[tuple[str, int]] = field(default_factory=list)
    templates: list[tuple[str, int]] = field(default_factory=list)
    policies: list[tuple[str, int]] = field(default_factory=list)
    others: list[tuple[str, int, bool]] = field(default_factory=list)
    """Rules that take part in a case: (name, index, whether the case has an end)."""
    their_sends: list[tuple[str, str, int]] = field(default_factory=list)
    """Sends of such rules that a case expects: (rule, step, index)."""
    brands: list[tuple[str, int]] = field(default_factory=list)
    endpoints: list[tuple[str, int]] = field(default_factory=list)
    events: list[tuple[str, int]] = field(default_factory=list)
    """Events that the document listens to."""
    by_same: set[int] = field(default_factory=set)
    """The indexes of those that an `unless` or a `wait_for` hears by `same`."""
    case_events: list[tuple[str, int]] = field(default_factory=list)
    """Events that its cases give or expect."""
    same: list[tuple[tuple[str, ...], str, int]] = field(default_factory=list)
    """Fields that two events share: the arriving event's types, the field, its index."""
    attributes: list[tuple[str, int]] = field(default_factory=list)
    """Attributes of the users of its cases."""
    given: list[tuple[str, MappingNode]] = field(default_factory=list)
    """The events of cases: type and properties as written."""


class Expressions:
    """Compiles the expressions of one document. Each problem points into the expression."""

    def __init__(self, report: Report, references: References) -> None:
        self.report = report
        self.references = references
        self.uses: list[ExpressionUse] = []

    def compile(
        self,
        node: Node,
        what: str,
        kind: Kind,
        roots: Collection[str],
        *,
        arriving: bool = False,
        events: tuple[str, ...] = (),
    ) -> Condition:
        """The expression of a scalar; raises Problem at the place inside it."""
        if not isinstance(node, ScalarNode) or (node.style in ("'", '"') and not node.text):
            raise values.wrong(node, what, "an expression", "wrap it in single quotes")
        try:
            condition = compile_condition(node.text, kind, Scope(frozenset(roots)))
        except SyntaxProblem as problem:
            at, hint = node.place_of(problem.offset), _hint(node, kind, problem)
            raise Problem(at, problem.code, f"{what}: {problem.message}", hint) from None
        code = condition.code
        self.references.scores += [(score, node.index) for score in sorted(code.scores)]
        self.references.metrics += [(*metric, node.index) for metric in sorted(code.metrics)]
        self.references.segments += [(segment, node.index) for segment in sorted(code.segments)]
        self.uses.append(ExpressionUse(condition, node, arriving, events))
        self._warn_of_negations(node, what)
        for offset in code.whole_quotients:
            hint = "for a fraction, write one as a fraction, as in 2.0 or double(…)"
            message = f"{what}: the quotient of two whole numbers is cut to a whole one"
            self.report.add(node.place_of(offset), "whole-quotient", message, hint)
        return condition

    def _warn_of_negations(self, node: ScalarNode, what: str) -> None:
        for path, offset in unguarded_negations(node.text):
            hint = f"if the field may be missing: !has({path}) || !{path}"
            message = f"{what}: without `{path}` this is an error, not true"
            self.report.add(node.place_of(offset), "negated-optional", message, hint)


def _hint(node: ScalarNode, kind: Kind, problem: SyntaxProblem) -> str:
    """The problem's hint, as it fits into the quoting of the value."""
    if kind == "number" and values.is_identifier(node.text) and problem.code == "cel-name":
        return f"write a number, as in 1, or whose it is, as in `event.{node.text}`"
    twice = f"""'"{node.text}"'"""
    if twice in problem.hint:
        return problem.hint
    if values.is_identifier(node.text):  # quotes alone would be YAML's, and change nothing
        return problem.hint.replace(f'"{node.text}"', twice)
    return problem.hint.replace('"', "'") if node.style == '"' else problem.hint
