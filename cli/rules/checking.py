"""`ebbtide check`: all findings in a folder of rules and templates, as text, GitHub annotations or JSON."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from cli.options import Format
from cli.rules.delivery_secrets import missing_keys, missing_secrets
from cli.rules.rule_files import CATALOGUES, PRIVACY
from cli.rules.rule_folder import Folder, read_folder
from schemas.wording import counted, nearest, quoted
from senders.content.render import template_faults
from senders.content.template_names import RequiredName, required_names
from triggers.cel.cost import MAX_COST
from triggers.checks.allow_comments import without_allowed
from triggers.checks.costs import Cost
from triggers.engine.fast_path import FastPath
from triggers.language.catalogue_document import read_catalogue
from triggers.language.diagnostics import Diagnostic, Report, in_publication
from triggers.language.privacy_document import read_privacy
from triggers.loader import RuleFindings, inspect
from triggers.rules.rule import Send, Trigger
from triggers.rules.ruleset import RuleSet

MAX_NAMES = 40
"""The number of rules that one note names."""
_OF_MANY = "order-sensitive"
_GITHUB = {"error": "error", "warning": "warning", "note": "notice"}


@dataclass(frozen=True, slots=True)
class EventPath:
    """How the engine applies the events of a type: on the fast path, or for a `reason` on the general path."""

    event: str
    path: Literal["fast", "general"]
    reason: str = ""


def event_paths(rules: RuleSet | None) -> list[EventPath]:
    """The path of each event type that the rules read, by name; none if the rules do not load."""
    if rules is None:
        return []
    found = FastPath(rules)
    general = [EventPath(name, "general", reason) for name, reason in found.refused.items()]
    return sorted([*(EventPath(name, "fast") for name in found.routes), *general], key=lambda each: each.event)


class CheckResult:
    """The findings of a check: problems and warnings ordered by place, then notes."""

    def __init__(
        self,
        folder: Folder,
        found: list[Diagnostic],
        costs: list[Cost],
        events: list[EventPath],
        *,
        breaks_other_sets: bool = False,
    ) -> None:
        self.folder = folder
        self.found = found
        self.costs = costs
        self.events = events
        self.breaks_other_sets = breaks_other_sets
        """Whether files of other published sets do not load together with this folder."""

    def count(self, severity: str) -> int:
        """The number of findings of a severity: error, warning or note."""
        return sum(each.severity == severity for each in self.found)

    @property
    def wrong(self) -> bool:
        """Whether a problem prevents rules from loading or mails from being sent."""
        return self.count("error") > 0

    def summary(self) -> str:
        """The numbers of files and of findings, on one line."""
        rules, templates = len(self.folder.rules), self.folder.template_files
        looked = f"{counted(rules, 'rule file')}, {counted(templates, 'template')}"
        if not rules and self.folder.privacy:
            looked = counted(len(self.folder.privacy), "privacy file")
        elif not rules and self.folder.catalogues:
            looked = counted(len(self.folder.catalogues), "event catalogue")
        severities = ("error", "warning", "note")
        return f"{looked}: {', '.join(counted(self.count(each), each) for each in severities)}"


def check_paths(
    paths: Sequence[Path], catalogue: Path | None = None, *, may_be_empty: bool = False, publishing: bool = False
) -> CheckResult:
    """Checks rules and templates, also against the event catalogue: the given one, or the one beside them.

    A catalogue that is named itself is checked without rules too. With `publishing`, a template that does not exist is
    an error and no warning.
    """
    is_alone = any(path.name in CATALOGUES | PRIVACY or path == catalogue for path in paths)
    folder = read_folder(*paths, catalogue=catalogue, may_be_empty=may_be_empty or is_alone)
    return check_folder(folder, publishing=publishing)


def check_folder(folder: Folder, *, publishing: bool = False) -> CheckResult:
    """Checks what was read."""
    rules = inspect(folder.rules, folder.template_hashes(), folder.catalogues)
    files = [*folder.problems, *folder.passed_over, *unused_templates(folder, rules), *check_privacy(folder)]
    files += without_allowed([*missing_keys(rules.brands), *missing_secrets(rules.endpoints)], rules.allowed)
    diagnostics = sorted([*rules.diagnostics, *check_templates(folder, rules.triggers), *files])
    found = [*diagnostics, *rules.notes]
    return CheckResult(folder, in_publication(found) if publishing else found, rules.costs, event_paths(rules.rules))


def check_privacy(folder: Folder) -> list[Diagnostic]:
    """What is wrong in privacy files, also against the event catalogue."""
    catalogue, _ = read_catalogue(folder.catalogues)
    return [each for report in read_privacy(folder.privacy, catalogue)[1] for each in report.diagnostics]


def unused_templates(folder: Folder, rules: RuleFindings) -> Iterator[Diagnostic]:
    """Warns of templates that no rule sends, if all rules could be read."""
    if not rules.triggers or not all(each.is_warning for each in rules.diagnostics):
        return
    sent = {send.template for trigger in rules.triggers for send in trigger.messages}
    for name, file in folder.templates.items():
        if name not in sent and name not in folder.beside:
            yield Diagnostic(file.path, 1, 1, "unused-template", f"no rule sends the template {quoted(name)}")


def check_templates(folder: Folder, triggers: Iterable[Trigger]) -> list[Diagnostic]:
    """Finds invalid templates, and variables that a template needs and a rule's `data` does not give."""
    reports = {name: Report(file) for name, file in folder.templates.items()}
    needed: dict[str, list[RequiredName]] = {}
    for name, file in folder.templates.items():
        faults = template_faults(name, file.text)
        needed[name] = [] if faults else required_names(name, file.text)
        for fault in faults:
            reports[name].add(fault.index, "template-invalid", fault.detail, "docs/triggers.md explains templates")
        for each in needed.get(name, []):
            _check_attribute(reports[name], each)
    for trigger in triggers:
        for send in trigger.messages:
            _check_data(reports.get(send.template), needed.get(send.template, []), trigger, send)
    return [each for report in reports.values() for each in report.diagnostics]


def _check_attribute(report: Report, each: RequiredName) -> None:
    if each.name.startswith("user."):
        hint = f'as in {{{{ {each.name} | default: "…" }}}}, or {{% if {each.name} %}}'
        message = f"{quoted(each.name)} fails the mail of a user whose profile does not have it"
        report.add(each.index, "template-attribute", message, hint)


def _check_data(report: Report | None, needed: list[RequiredName], trigger: Trigger, send: Send) -> None:
    given = [name for name, _ in send.data]
    for each in needed:
        if report is not None and each.name not in given and not each.name.startswith("user."):
            message = f"{quoted(each.name)} is not in the `data` of `{send.id}` of the trigger {quoted(trigger.name)}"
            written = f"send: {{template: {send.template}, data: {{total: event.total}}}}"
            close = nearest(each.name, given) if given else f"the rule gives no data; write {written}"
            hint = f"{close.removesuffix('?')}; or give it a `default`"
            if each.name == "event":
                hint = "a template sees the rule's `data` and `user`, not the event, as in data: {total: event.total}"
            report.add(each.index, "template-variable", message, hint)


def show(console: Console, checked: CheckResult, form: Format, *, costs: bool = False) -> None:
    """Prints the findings in one of the formats. As text, `costs` adds costs of expressions and paths of events."""
    if form is Format.GITHUB:
        for each in summarised(checked.found):
            console.file.write(annotation(each) + "\n")
    else:
        _show_text(console, checked, costs=costs)


def as_json(checked: CheckResult) -> dict[str, object]:
    """All findings as JSON values."""
    return {
        "rule_files": len(checked.folder.rules),
        "templates": checked.folder.template_files,
        "errors": checked.count("error"),
        "warnings": checked.count("warning"),
        "notes": checked.count("note"),
        "costs": [asdict(each) for each in checked.costs],
        "cost_limit": MAX_COST,
        "events": [asdict(each) for each in checked.events],
        "findings": [_as_json(each) for each in checked.found],
    }


def _as_json(found: Diagnostic) -> dict[str, object]:
    shown = {name: value for name, value in asdict(found).items() if name not in ("rule", "other_path")}
    return {**shown, "severity": found.severity}


def summarised(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The findings for people: equal notes about many rules become one note that names the rules."""
    told: list[Diagnostic] = []
    by_hint: dict[str, list[Diagnostic]] = {}
    for each in found:
        if each.code == _OF_MANY:
            by_hint.setdefault(each.hint, []).append(each)
        else:
            told.append(each)
    return told + [notes[0] if len(notes) == 1 else _one_note(notes) for notes in by_hint.values()]


def _one_note(notes: Sequence[Diagnostic]) -> Diagnostic:
    names = [each.rule for each in notes]
    more = f" and {len(names) - MAX_NAMES} more; --json lists them" if len(names) > MAX_NAMES else ""
    settled = "beyond their `settle`, " if not notes[0].hint else ""
    message = f"{counted(len(names), 'rule')}: {settled}an event that arrives late can change the answer: "
    return replace(notes[0], message=f"{message}{', '.join(names[:MAX_NAMES])}{more}")


def _show_text(console: Console, checked: CheckResult, *, costs: bool) -> None:
    found = summarised(checked.found)
    hints = {each.hint: each for each in found if each.severity == "note" and each.hint}
    for each in found:
        told = str(each) if each.severity == "note" else each.render()
        console.print(told, markup=False, soft_wrap=True)
        if hints.get(each.hint) is each:  # many rules have the same hint: print it once, after the last of them
            console.print(f"  hint: {each.hint}", markup=False, soft_wrap=True)
    for cost in checked.costs if costs else ():
        console.print(_cost_words(cost), markup=False, soft_wrap=True)
    for line in _path_words(checked.events) if costs else ():
        console.print(line, markup=False, soft_wrap=True)
    console.print(checked.summary())


def _cost_words(cost: Cost) -> str:
    words = f"{cost.document}: at most {counted(cost.total, 'step')} in {counted(cost.expressions, 'expression')}"
    return f"{words}; the most expensive has {cost.dearest:,} of {MAX_COST:,}, at {cost.path}:{cost.line}:{cost.column}"


def _path_words(events: list[EventPath]) -> Iterator[str]:
    fast = [each.event for each in events if each.path == "fast"]
    if fast:
        yield f"fast path: {', '.join(fast)}"
    for each in events:
        if each.path == "general":
            yield f"general path: {each.event}, because {each.reason}"


def annotation(found: Diagnostic) -> str:
    """A workflow command: GitHub shows it beside the line."""
    message = f"{found.message}\n{found.hint}" if found.hint else found.message
    place = f"file={_property(found.path)},line={found.line},col={found.column},title={_property(found.code)}"
    return f"::{_GITHUB[found.severity]} {place}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
