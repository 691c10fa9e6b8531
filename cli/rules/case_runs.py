"""`ebbtide test`: runs the cases of rule files, prints the results, writes JUnit XML, and watches the files."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console

from cli.rules.case_mails import CaseMails
from cli.rules.rule_files import RULE_SUFFIXES, TEMPLATE_SUFFIX, NothingFound
from cli.rules.rule_folder import Folder, read_folder
from schemas.errors import UserError
from schemas.wording import quoted
from triggers.cases.case_runner import CaseResult, run_case
from triggers.language.diagnostics import Diagnostic, InvalidRules
from triggers.loader import load_to_try
from triggers.rules.ruleset import RuleSet

POLL_S = 0.3
"""How often `--watch` looks at the files: soon enough for a person, and hardly any load."""
_WATCHED = (*RULE_SUFFIXES, TEMPLATE_SUFFIX)
_STYLES = {"-": "red", "+": "green", "!": "red"}
_LEGEND = {
    "-": "[red]-[/] expected and missing",
    "+": "[green]+[/] sent and not expected",
    "!": "[red]![/] a mail failed to render",
    " ": "others happened too",
}


class NoSuchCase(UserError):
    """No case matches the given name."""


@dataclass(frozen=True, slots=True)
class TimedCase:
    """The result of one case, and how long it took."""

    result: CaseResult
    took_s: float


@dataclass(frozen=True, slots=True)
class CaseRun:
    """The cases that ran. `unrendered` says which mails were not rendered; empty if all were."""

    cases: list[TimedCase]
    unrendered: str
    passed_over: Sequence[Diagnostic] = ()
    """A warning for each file that looks like a rule or a template and was not read."""


def run_paths(paths: Sequence[Path], name: str = "") -> CaseRun:
    """Runs every case whose name or rule contains `name`, and renders the mails that it sends.

    A mail whose template does not exist is not rendered. Raises InvalidRules, NothingFound, or NoSuchCase.
    """
    folder = read_folder(*paths)
    folder.refuse_problems()
    rules = load_to_try(folder.rules, folder.template_hashes())
    mails = CaseMails(folder)
    ran = []
    for trigger in rules.declared.values():
        for case in trigger.cases:
            if name.casefold() in f"{trigger.name}: {case.name}".casefold():
                began = time.perf_counter()
                result = mails.rendered(run_case(rules, trigger, case))
                ran.append(TimedCase(result, time.perf_counter() - began))
    if name and not ran:
        raise NoSuchCase(f"no case matches -k {name!r}; leave it out to run all cases")
    return CaseRun(ran, _unrendered(folder, rules), folder.passed_over)


def _unrendered(folder: Folder, rules: RuleSet) -> str:
    """Which mails are not rendered; empty if every template exists."""
    if not folder.templates:
        return f"no templates in {folder.root}: the mails were not rendered"
    sent = {send.template for trigger in rules.declared.values() for send in trigger.messages}
    missing = sent - folder.templates.keys()
    names = ", ".join(map(quoted, sorted(missing)))
    return f"mails without a template were not rendered: {names}" if missing else ""


def show(console: Console, tested: CaseRun) -> bool:
    """Prints every case, the differences of failed ones, and the counts; true if a case failed."""
    ran = tested.cases
    for each in ran:
        _show_case(console, each.result)
    failed = sum(not each.result.passed for each in ran)
    signs = {line[0] for each in ran for line in each.result.diff}
    if legend := [words for sign, words in _LEGEND.items() if sign in signs]:
        console.print("   ".join(legend))
    for warning in tested.passed_over:
        console.print(str(warning), markup=False, soft_wrap=True)
    if ran and tested.unrendered:
        console.print(tested.unrendered, markup=False, soft_wrap=True)
    console.print(f"{len(ran) - failed} passed, {failed} failed" if ran else "no cases found")
    return failed > 0


def _show_case(console: Console, result: CaseResult) -> None:
    mark = "[green]✓[/]" if result.passed else "[red]✗[/]"
    console.print(f"{mark} {result.trigger}: ", end="")
    console.print(result.name, markup=False, soft_wrap=True)
    if result.passed:
        for unread in result.unread:
            console.print(f"    problem: {unread}", style="yellow", markup=False, soft_wrap=True)
        return
    console.print(f"    {result.path}:{result.line}", style="dim", markup=False, soft_wrap=True)
    for line in result.diff:
        console.print(f"    {line}", style=_STYLES.get(line[0], "dim"), markup=False, soft_wrap=True)


def write_junit(ran: Sequence[TimedCase], file: Path) -> None:
    """Writes the results as JUnit XML, with a suite for each rule."""
    root = ElementTree.Element("testsuites")
    for trigger in dict.fromkeys(each.result.trigger for each in ran):
        cases = [each for each in ran if each.result.trigger == trigger]
        failed = sum(not each.result.passed for each in cases)
        took = f"{sum(each.took_s for each in cases):.6f}"
        counts = {"tests": str(len(cases)), "failures": str(failed), "errors": "0", "time": took}
        suite = ElementTree.SubElement(root, "testsuite", {"name": trigger, **counts})
        for each in cases:
            _junit_case(suite, each)
    file.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _junit_case(suite: ElementTree.Element, ran: TimedCase) -> None:
    result = ran.result
    where = {"file": _xml(result.path), "line": str(result.line), "time": f"{ran.took_s:.6f}"}
    case = ElementTree.SubElement(suite, "testcase", {"classname": result.trigger, "name": _xml(result.name), **where})
    if not result.passed:
        failure = ElementTree.SubElement(case, "failure", {"message": _xml(result.diff[0])})
        failure.text = "\n".join(map(_xml, (f"{result.path}:{result.line}", *result.diff)))


def _xml(text: str) -> str:
    """The text without characters that XML 1.0 does not allow."""
    return "".join(char if char.isprintable() else " " for char in text)


def watch(console: Console, paths: Sequence[Path], run: Callable[[], object]) -> None:
    """Calls `run` now and after each change of a file at or below `paths`, until Ctrl-C.

    If the rules do not load, it prints the problems and waits for the next change.
    """
    try:
        for _ in _changes(paths):
            try:
                run()
            except InvalidRules as error:
                for diagnostic in error.diagnostics:
                    console.print(diagnostic.render(), markup=False, soft_wrap=True)
            except (NothingFound, NoSuchCase, FileNotFoundError) as error:
                console.print(str(error), markup=False, soft_wrap=True)
            console.print("waiting for a change; Ctrl-C to stop", style="dim")
    except KeyboardInterrupt:
        return


def _changes(paths: Sequence[Path]) -> Iterator[None]:
    """Yields now, and after each change of the files."""
    seen: dict[Path, tuple[int, int]] | None = None
    while True:
        found = _stamps(paths)
        if found != seen:
            seen = found
            yield
        time.sleep(POLL_S)


def _stamps(paths: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """The modification time and size of each rule file and template. Hidden folders are skipped, as in reading."""
    stamps = {}
    for path in paths:
        for folder, below, files in os.walk(path if path.is_dir() else path.parent):
            below[:] = [name for name in below if not name.startswith(".")]
            for file in (Path(folder, name) for name in files if name.endswith(_WATCHED)):
                try:
                    found = file.stat()
                except FileNotFoundError:  # deleted since it was listed
                    continue
                stamps[file] = (found.st_mtime_ns, found.st_size)
    return stamps
