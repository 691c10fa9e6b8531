"""Rule files into a RuleSet: every problem of every file at once, or the whole set."""

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from schemas.brands import Brand
from schemas.commands import MAX_BUDGETS
from schemas.endpoints import Endpoint
from schemas.rules import text_hash
from schemas.wording import nearest, quoted
from triggers.checks.allow_comments import AllowComments, without_allowed
from triggers.checks.arrival_order import order_hint, order_note
from triggers.checks.case_mistakes import check_case_mistakes
from triggers.checks.case_rules import check_other_rules
from triggers.checks.catalogue import check_events
from triggers.checks.costs import Cost, cost_notes, costs
from triggers.checks.memory_notes import memory_notes
from triggers.checks.never_sends import check_never_sends
from triggers.checks.unreachable_caps import check_unreachable_caps
from triggers.checks.unused import check_never_given, check_unused
from triggers.checks.without_user import broadcast_notes, warn_of_the_unheard
from triggers.language.brand_document import read_brand
from triggers.language.catalogue_document import read_catalogue
from triggers.language.diagnostics import Diagnostic, InvalidRules, Report, SourceFile, in_publication
from triggers.language.document_reader import DocumentReader
from triggers.language.documents import BrandDocument, EndpointDocument, PolicyDocument, TriggerDocument
from triggers.language.endpoint_document import read_endpoint
from triggers.language.expressions import References
from triggers.language.keys import KEYS_OF_KINDS, KINDS
from triggers.language.metric_document import read_metric
from triggers.language.policy_document import read_policy
from triggers.language.score_document import read_score
from triggers.language.segment_document import read_segment
from triggers.language.trigger_document import read_trigger
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, documents
from triggers.rules.policies import obeys
from triggers.rules.rule import Metric, Pattern, Policy, Score, Segment, Trigger, WaitFor
from triggers.rules.ruleset import Pin, RuleSet

_HOW_TO_DEFINE = {"template": "write it beside the rules, in templates/{name}.liquid"}
T = TypeVar("T", Trigger, Score, Metric, Segment, Policy, Brand, Endpoint)


@dataclass(frozen=True, slots=True)
class RuleFindings:
    """What `inspect` found: problems and warnings, and notes, which are neither; each ordered by place."""

    diagnostics: list[Diagnostic]
    notes: list[Diagnostic]
    triggers: tuple[Trigger, ...]
    """The triggers as far as they could be read; where there is no problem, all of them."""
    costs: list[Cost]
    rules: RuleSet | None = None
    """The rule set; None if there is a problem."""
    brands: Sequence[BrandDocument] = ()
    """The brands as far as they could be read."""
    endpoints: Sequence[EndpointDocument] = ()
    """The endpoints as far as they could be read."""
    allowed: AbstractMapping[str, AllowComments] = field(default_factory=dict)
    """What the comments of each file allow, by its path; it is left out here already."""


@dataclass(slots=True)
class _Files:
    """What all the files say together."""

    templates: dict[str, str]
    reports: list[Report] = field(default_factory=list)
    references: list[tuple[Report, References]] = field(default_factory=list)
    triggers: dict[str, Trigger] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    brands: dict[str, Brand] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    documents: list[tuple[DocumentReader, MappingNode, Trigger | None]] = field(default_factory=list)
    """What each document says, with the trigger that it is."""
    places: dict[tuple[str, str], Diagnostic] = field(default_factory=dict)
    """Where each document is, by its kind and name."""

    def diagnostics(self) -> list[Diagnostic]:
        """Everything reported so far, ordered by place."""
        return sorted(diagnostic for report in self.reports for diagnostic in report.diagnostics)

    def policy_documents(self) -> list[PolicyDocument]:
        """The policies with where they are written."""
        return [PolicyDocument(*each) for each in self._written("policy", self.policies)]

    def brand_documents(self) -> list[BrandDocument]:
        """The brands with where they are written."""
        return [BrandDocument(*each) for each in self._written("brand", self.brands)]

    def endpoint_documents(self) -> list[EndpointDocument]:
        """The endpoints with where they are written."""
        return [EndpointDocument(*each) for each in self._written("endpoint", self.endpoints)]

    def _written(self, kind: str, known: AbstractMapping[str, T]) -> Iterator[tuple[Report, MappingNode, T]]:
        for document, node, _ in self.documents:
            name = node.items[kind] if _kind(node) == kind else None
            if isinstance(name, ScalarNode) and name.text in known:
                yield document.report, node, known[name.text]

    def ruleset(self, pinned: AbstractMapping[Pin, Trigger] | None = None) -> RuleSet:
        """All of it as one set, with what occurrences keep of earlier texts."""
        return RuleSet(
            tuple(self.triggers.values()),
            tuple(self.scores.values()),
            tuple(self.policies.values()),
            metrics=self.metrics.values(),
            segments=self.segments.values(),
            endpoints=self.endpoints.values(),
            pinned=pinned or {},
            brands=self.brands.values(),
        )


def load_rules(
    files: Sequence[SourceFile],
    templates: AbstractMapping[str, str],
    pinned: AbstractMapping[Pin, Trigger] | None = None,
) -> RuleSet:
    """The rules of all files as one set; `templates` gives each template's hash by its name, `pinned` is what
    `pinned_triggers` gives of earlier texts.

    Raises InvalidRules with every problem of every file, ordered by place, and nothing else whatever the texts hold.
    `check` gives the warnings.
    """
    found = _read(files, dict(templates))
    _refuse(in_publication(found.diagnostics()))
    return found.ruleset(pinned)


def load_to_try(files: Sequence[SourceFile], templates: AbstractMapping[str, str]) -> RuleSet:
    """As `load_rules`, for cases and backtests, which need no template to exist."""
    found = _read(files, dict(templates))
    _refuse(found.diagnostics())
    return found.ruleset()


def _refuse(diagnostics: list[Diagnostic]) -> None:
    if not all(diagnostic.is_warning for diagnostic in diagnostics):
        raise InvalidRules(diagnostics)


def pinned_triggers(
    files: Sequence[SourceFile], templates: AbstractMapping[str, str], current: Sequence[SourceFile] = ()
) -> dict[Pin, Trigger]:
    """The triggers of texts that were replaced, by (hash of the text, name). Their brands are those of `current` texts.

    They were whole when they were published. What does not load any more, or sends what is no longer there, is left
    out.
    """
    brands = _read_documents(current, {}, only="brand").brands if files else {}
    found: dict[Pin, Trigger] = {}
    for file in files:
        alone = _read_documents([file], dict(templates), brands, only="trigger")
        if all(diagnostic.is_warning for report in alone.reports for diagnostic in report.diagnostics):
            found |= {
                (each.rule_hash, name): each for name, each in alone.triggers.items() if _sends_what_is_there(each)
            }
    return found


def _sends_what_is_there(trigger: Trigger) -> bool:
    return all(send.template_hash for send in trigger.messages)


def check(
    files: Sequence[SourceFile], templates: AbstractMapping[str, str], catalogue: Sequence[SourceFile] = ()
) -> list[Diagnostic]:
    """Every problem and every warning of the files, ordered by place."""
    return inspect(files, templates, catalogue).diagnostics


def inspect(
    files: Sequence[SourceFile], templates: AbstractMapping[str, str], catalogue: Sequence[SourceFile] = ()
) -> RuleFindings:
    """Everything there is to say about the files, more than loading needs to know.

    `catalogue` are the files that say which events there are; without one, every event is taken to exist, and those of
    cases are held against what rules listen to. What is only doubtful is looked for once nothing is wrong; a
    rule that is wrong has no notes. What a document's comments allow is left out.
    """
    found = _read(files, dict(templates))
    allowed = {report.source.path: AllowComments(report) for report in found.reports}
    events, reports = read_catalogue(catalogue)
    if events is not None:
        for document, _, trigger in found.documents:
            entry, awaited = _entry_types(trigger), _awaited_types(trigger)
            check_events(events, document.report, document.references, document.expressions.uses, entry, awaited)
            warn_of_the_unheard(events, document)
    found.reports += reports
    written = [
        TriggerDocument(p.report, node, p.expressions.uses, t) for p, node, t in found.documents if t is not None
    ]
    of_the_set: list[Diagnostic] = []
    rules: RuleSet | None = None
    if all(diagnostic.is_warning for diagnostic in found.diagnostics()):
        rules = found.ruleset()
        check_never_sends(rules, written)
        check_unreachable_caps(rules, written, found.policy_documents())
        of_the_set = check_unused(rules, found.documents, written, found.policy_documents())
        of_the_set += memory_notes(rules, found.documents, written)
        if events is None:
            check_case_mistakes([document for document, _, _ in found.documents], found.scores)
            check_never_given(found.documents, written)
        if events is not None:
            of_the_set += broadcast_notes(events, [document for document, _, _ in found.documents])
    notes = sorted([*_order_notes(written), *cost_notes([document for document, _, _ in found.documents]), *of_the_set])
    return RuleFindings(
        without_allowed(found.diagnostics(), allowed),
        without_allowed(notes, allowed),
        tuple(found.triggers.values()),
        costs([(document, node) for document, node, _ in found.documents]),
        rules,
        found.brand_documents(),
        found.endpoint_documents(),
        allowed,
    )


def _entry_types(trigger: Trigger | None) -> tuple[str, ...]:
    """The types of event that begin a trigger; none where something else may begin it."""
    sources = trigger.sources if trigger is not None else ()
    if not all(isinstance(source, Pattern) for source in sources):
        return ()
    return tuple(name for source in sources if isinstance(source, Pattern) for name in source.types)


def _awaited_types(trigger: Trigger | None) -> tuple[str, ...]:
    """The types of event for which a trigger's steps wait."""
    steps = trigger.steps if trigger is not None else ()
    return tuple(name for step in steps if isinstance(step, WaitFor) for name in step.pattern.types)


def _order_notes(written: Sequence[TriggerDocument]) -> Iterator[Diagnostic]:
    reports = {each.report.source.path: each.report for each in written}
    wrong = {
        (path, report.document(found.line))
        for path, report in reports.items()
        for found in report.diagnostics
        if found.severity == "error"
    }
    for each in written:
        note, hint = order_note(each.trigger), order_hint(each.trigger)
        message = f"{quoted(each.trigger.name)}: {note}"
        found = each.report.at(each.node.index, "order-sensitive", message, hint)
        if note and (found.path, each.report.document(found.line)) not in wrong:
            yield replace(found, rule=each.trigger.name)


def _read(files: Sequence[SourceFile], templates: dict[str, str]) -> _Files:
    found = _read_documents(files, templates)
    for report, references in found.references:
        _check_references(found, report, references)
    for document, node, trigger in found.documents:
        if trigger is not None:
            _check_budgets(found, document.report, node, trigger)
    return found


def _check_budgets(found: _Files, report: Report, node: MappingNode, trigger: Trigger) -> None:
    of_policies = [each for each in found.policies.values() if each.budget is not None and obeys(trigger, each)]
    count = len(trigger.budgets) + len(of_policies)
    if count > MAX_BUDGETS:
        message = f"{quoted(trigger.name)} has {count} budgets with those of its policies; at most {MAX_BUDGETS}"
        report.add(node.index, "invalid-value", message, "say more in the `for` of policies, or put budgets together")


def _read_documents(
    files: Sequence[SourceFile],
    templates: dict[str, str],
    brands: AbstractMapping[str, Brand] | None = None,
    only: str | None = None,
) -> _Files:
    """What the files say, or only their documents of one kind. Brands come first, because triggers read theirs."""
    found = _Files(templates, brands=dict(brands or {}))
    nodes: list[tuple[Report, Node, str]] = []
    for source in files:
        report = Report(source)
        found.reports.append(report)
        rule_hash = text_hash(source.text.encode("utf-8", "replace").decode())
        read = documents(report, KEYS_OF_KINDS)
        if not read and not report.diagnostics:
            report.add(0, "empty-file", "there is no document in this file", "as in trigger: welcome; or remove it")
        nodes += [(report, node, rule_hash) for node in read]
    for report, node, rule_hash in sorted(nodes, key=lambda each: _kind(each[1]) != "brand"):
        if only in (None, _kind(node)):
            report.attempt(lambda n=node, h=rule_hash, r=report: _document(found, r, n, h), None)  # type: ignore[misc]
    return found


def _kind(node: Node) -> str:
    return next(iter(node.items), "") if isinstance(node, MappingNode) else ""


def _document(found: _Files, report: Report, node: Node, rule_hash: str) -> None:
    document = DocumentReader(report, found.templates, found.brands)
    found.references.append((report, document.references))
    kind = _kind(node)
    if not isinstance(node, MappingNode) or kind not in KINDS:
        _not_a_kind(report, node, kind)
        return
    place = node.keys[kind].index
    if kind == "trigger":
        trigger = read_trigger(document, node, rule_hash)
        document.check_crossings()
        found.documents.append((document, node, trigger))
        _define(found, report, place, kind, trigger, found.triggers)
        return
    found.documents.append((document, node, None))
    if kind == "score":
        _define(found, report, place, kind, read_score(document, node), found.scores)
    elif kind == "metric":
        _define(found, report, place, kind, read_metric(document, node), found.metrics)
    elif kind == "segment":
        segment = read_segment(document, node)
        if segment is not None:
            _define(found, report, place, kind, segment, found.segments)
    elif kind == "brand":
        brand = read_brand(document, node)
        if brand is not None:
            _define(found, report, place, kind, brand, found.brands)
    elif kind == "endpoint":
        _define(found, report, place, kind, read_endpoint(document, node), found.endpoints)
    else:
        _define(found, report, place, kind, read_policy(document, node), found.policies)


def _not_a_kind(report: Report, node: Node, kind: str) -> None:
    if not isinstance(node, MappingNode):
        hint = "as in trigger: welcome, at the margin, and its other keys below"
        report.add(node.index, "kind", "a document is a mapping that begins with its kind and name", hint)
        return
    later = [k for k in KINDS if k in node.items]
    hint = f"put `{later[0]}` first" if later else nearest(kind, KINDS)
    message = f"unknown kind of document {quoted(kind)}: the first key is one of {', '.join(KINDS)}"
    report.add(node.index, "kind", message, hint)


def _define(found: _Files, report: Report, place: int, kind: str, thing: T, into: dict[str, T]) -> None:
    if not thing.name:
        return
    if thing.name in into:
        there = found.places[kind, thing.name]
        message = f"duplicate {kind} {quoted(thing.name)}: the other is at {there.path}:{there.line}"
        report.add(place, "duplicate-document", message, "rename one", other_path=there.path)
        return
    into[thing.name] = thing
    found.places[kind, thing.name] = report.at(place, "", "")


def _check_references(found: _Files, report: Report, references: References) -> None:
    checks: tuple[tuple[list[tuple[str, int]], AbstractMapping[str, object], str], ...] = (
        (references.scores, found.scores, "score"),
        ([(name, index) for name, _, index in references.metrics], found.metrics, "metric"),
        (references.segments, found.segments, "segment"),
        (references.templates, found.templates, "template"),
        (references.policies, found.policies, "policy"),
        ([(name, index) for name, index, _ in references.others], found.triggers, "trigger"),
        (references.brands, found.brands, "brand"),
        (references.endpoints, found.endpoints, "endpoint"),
    )
    for named, known, kind in checks:
        for name, index in named:
            if name not in known:
                hint = _nearest_name(kind, name, known) or _HOW_TO_DEFINE.get(
                    kind, "a document `{kind}: {name}` makes one"
                )
                message = f"unknown {kind} {quoted(name)}"
                report.add(index, f"unknown-{kind}", message, hint.format(kind=kind, name=name))
    for metric, kept, index in references.metrics:
        if metric in found.metrics and not _keeps(found.metrics[metric], kept):
            hint = f"give it `{kept}: EXPR`, as in {kept}: event.{'total' if kept == 'sum' else 'sku'}"
            report.add(index, "metric-field", f"the metric {quoted(metric)} keeps no `{kept}`", hint)
    check_other_rules(report, references, found.triggers)


def _nearest_name(kind: str, name: str, known: AbstractMapping[str, object]) -> str:
    """The hint for a name that nothing has; a template's is tried without its folder and its ending."""
    stem = name.rpartition("/")[2].partition(".")[0]
    if kind == "template" and stem in known:
        return f"write {stem}: a template is named without its folder and its ending"
    return nearest(name, known)


def _keeps(metric: Metric, kept: str) -> bool:
    return {"sum": metric.sum is not None, "distinct": metric.distinct is not None}.get(kept, True)
