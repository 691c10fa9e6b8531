"""Checks one set together with the other current sets, as workers load them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cli.manifests.history import RuleLog, labelled_path
from cli.rules.checking import CheckResult, check_templates, event_paths, unused_templates
from cli.rules.rule_folder import Folder
from schemas.rules import SetFile
from schemas.wording import quoted
from triggers.language.diagnostics import Diagnostic, SourceFile, in_publication
from triggers.loader import inspect

DEFINED_ELSEWHERE = frozenset(
    {
        *("unknown-score", "unknown-metric", "unknown-segment", "unknown-policy", "unknown-template"),
        *("unknown-endpoint", "unknown-trigger", "unknown-brand", "metric-field"),
    }
)
"""Codes of problems that disappear if another set has the definition."""
_NEEDS_ALL_SETS = DEFINED_ELSEWHERE | {
    *("duplicate-document", "never-fires", "cap-unreachable", "unused-policy", "unused-definition", "unused-template"),
    *("misspelt-purpose", "lone-purpose", "template-variable", "costly-expression", "order-sensitive"),
    "memory-bound",
}
"""Codes that need all sets. In files of other sets, only errors are reported."""
_WITHOUT_CATALOGUE = {"unheard-event", "nested-properties", "score-as-attribute", "event-never-given"}


def may_be_valid(checked: CheckResult) -> bool:
    """Whether other sets may define everything that is missing in the folder."""
    return all(each.code in DEFINED_ELSEWHERE for each in checked.found if each.severity == "error")


def check_among(checked: CheckResult, log: RuleLog, others: Sequence[SetFile]) -> CheckResult:
    """The findings in a folder together with the other sets. Paths in other sets begin with the set."""
    own = checked.folder
    whole = _together(own, log, others)
    rules = inspect(whole.rules, whole.template_hashes())
    needs_all_sets = _NEEDS_ALL_SETS if own.catalogues else _NEEDS_ALL_SETS | _WITHOUT_CATALOGUE
    found = [*rules.diagnostics, *rules.notes, *check_templates(whole, rules.triggers), *unused_templates(own, rules)]
    found = in_publication(found)
    own_paths = {file.path for file in (*own.rules, *own.templates.values())}
    kept = [each for each in checked.found if each.code not in needs_all_sets]
    kept += [each for each in found if each.path in own_paths and each.code in needs_all_sets]
    broken = [each for each in found if each.path not in own_paths and each.severity == "error"]
    kept += broken
    kept += whole.problems
    sets = {labelled_path(file): file.set for file in others}
    ordered = sorted({_with_hint(each, sets) for each in kept}, key=lambda each: (each.severity == "note", each))
    return CheckResult(own, ordered, checked.costs, event_paths(rules.rules), breaks_other_sets=bool(broken))


def _with_hint(found: Diagnostic, sets: Mapping[str, str]) -> Diagnostic:
    """The finding; if another set has a document or template of the same name, the hint says how to take it over.

    `sets` has the set of each file of other sets, by path.
    """
    other = sets.get(found.other_path)
    if other is None:
        return found
    return replace(found, hint=f"rename one, or take it over from the set {other} with --take-from {other}")


def _together(own: Folder, log: RuleLog, others: Sequence[SetFile]) -> Folder:
    """The files of all sets. The other sets come first, so that duplicates are reported in the folder."""
    rules = [*log.sources(others, "rule", label=True), *own.rules]
    templates = {
        file.name: source
        for file, source in zip(
            [file for file in others if file.kind == "template"],
            log.sources(others, "template", label=True),
            strict=True,
        )
    }
    known = {name.casefold(): source.path for name, source in templates.items()}
    problems = [
        _taken(name, file, known[name.casefold()]) for name, file in own.templates.items() if name.casefold() in known
    ]
    return replace(own, rules=rules, templates=templates | own.templates, problems=problems)


def _taken(name: str, file: SourceFile, other: str) -> Diagnostic:
    message = f"duplicate template {quoted(name)}: the other is at {other}"
    return Diagnostic(file.path, 1, 1, "duplicate-template", message, "rename one", other_path=other)
