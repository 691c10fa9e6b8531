"""Reads one document: its patterns and expressions, and the names that it expects others to define."""

from collections.abc import Collection, Mapping

from schemas.brands import Brand
from triggers.cel.conditions import Condition
from triggers.cel.types import ROOTS
from triggers.language import keys, values
from triggers.language.diagnostics import Report
from triggers.language.expressions import Expressions, References
from triggers.language.reader import MappingReader
from triggers.language.yaml_tree import Node, ScalarNode
from triggers.rules.rule import Pattern

ENTRY = ("event", "user", "score", "metric", "segment", "now")
"""The names that expressions may use before there is an occurrence."""


class DocumentReader:
    """What the parts of one document share while they are read."""

    def __init__(self, report: Report, templates: Mapping[str, str], brands: Mapping[str, Brand]) -> None:
        self.report = report
        self.references = References()
        self.expressions = Expressions(report, self.references)
        self.templates = templates
        self.brands = brands
        self.folder = ""
        """The folder of the trigger's brand, whose templates go before others."""
        self.only_crossings = False
        """Whether only crossings and the clock begin the trigger, which have no event's properties."""
        self.grouped: frozenset[str] = frozenset()
        """Properties that such a crossing has all the same, because it groups its events by them."""
        self.sends_incomplete = False
        """Whether steps were left unread or a template is misnamed, so that cases may name sends not known here."""

    def mapping(
        self, node: Node, what: str, *shapes: str, later: tuple[str, ...] = (), example: str = ""
    ) -> MappingReader:
        """A reader of a mapping of one of these shapes; raises Problem for another node."""
        return MappingReader(self.report, node, what, keys.keys(*shapes, later=later), example)

    def brand(self, node: Node) -> str:
        """The name of a brand that another document is expected to define."""
        name = values.name(node, "a brand's name")
        self.references.brands.append((name, node.index))
        return name

    def template(self, name: str) -> str:
        """The template that a name means: that of the brand's folder, if it has one of this name."""
        own = f"{self.folder}/{name}" if self.folder else name
        return own if own in self.templates else name

    def pattern(self, node: Node, what: str, roots: Collection[str], *, same: bool = False) -> Pattern:
        """An event by name, or `{event, where, same}`."""
        if isinstance(node, ScalarNode):
            return Pattern((self._event(node),))
        known = len(self.references.events)
        pattern = self.pattern_keys(self.mapping(node, what, "EVENT", later=() if same else ("same",)), roots)
        if pattern.same:
            self.references.by_same.update(index for _, index in self.references.events[known:])
        return pattern

    def pattern_keys(self, mapping: MappingReader, roots: Collection[str]) -> Pattern:
        """The keys `event`, `where` and `same` of a mapping."""
        types = mapping.required("event", lambda n: values.several(self.report, n, self._event), ())
        where = mapping.optional("where", lambda n: self.condition(n, "where", roots, types), None)
        same = mapping.optional("same", lambda n: values.several(self.report, n, lambda f: self._same(f, types)), ())
        return Pattern(types, where, same)

    def patterns(self, node: Node, what: str) -> tuple[Pattern, ...]:
        """One pattern or several, matched against the events of running occurrences."""
        return values.several(self.report, node, lambda item: self.pattern(item, what, ROOTS, same=True))

    def condition(self, node: Node, what: str, roots: Collection[str], events: tuple[str, ...] = ()) -> Condition:
        """An expression that is true or false."""
        return self.expressions.compile(node, what, "truth", roots, arriving=what == "where", events=events)

    def _event(self, node: Node) -> str:
        name = values.name(node, "an event's name")
        self.references.events.append((name, node.index))
        return name

    def _same(self, node: Node, types: tuple[str, ...]) -> str:
        name = values.name(node, "a field")
        self.references.same.append((types, name, node.index))
        return name

    def check_crossings(self) -> None:
        """Reports expressions that read properties of an entry event that has none. Call it when all are read."""
        for use in self.expressions.uses if self.only_crossings else ():
            if use.arriving:
                continue
            fields = use.condition.code.event_fields
            for field, offset in ((name, fields[name]) for name in fields.keys() - self.grouped):
                message = f"`event.{field}`: no event begins this rule, so there are no properties"
                hint = "event.id and event.time are there; what was counted is `score.NAME` or `metric.NAME.count`"
                self.report.add(use.node.place_of(offset), "no-properties", message, hint)

    def check_occurrence_field(self, name: str, why: str, hint: str) -> None:
        """Reports expressions that read a field of `occurrence` which the rule never fills."""
        for use in self.expressions.uses:
            if (offset := use.condition.code.occurrence.get(name)) is not None:
                self.report.add(use.node.place_of(offset), "occurrence-field", f"`occurrence.{name}`: {why}", hint)
