"""Reads a folder of rules and templates, to check, test or publish it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.rules.rule_files import CATALOGUES, PRIVACY, TEMPLATE_SUFFIX, NothingFound, find_files, is_rule
from cli.text_files import UnreadableFile, read_text
from schemas.rules import brand_folder, template_name, text_hash
from schemas.wording import quoted
from senders.content.render import parse_template
from triggers.language.diagnostics import Diagnostic, InvalidRules, SourceFile
from triggers.loader import load_rules
from triggers.outline import brand_folders
from triggers.rules.ruleset import RuleSet


@dataclass(frozen=True, slots=True)
class Folder:
    """The rule files and templates of one or more paths."""

    root: str
    rules: list[SourceFile]
    templates: dict[str, SourceFile]
    catalogues: list[SourceFile] = field(default_factory=list)
    privacy: list[SourceFile] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    """Templates whose name is not unique: nobody could tell which of them would be sent."""
    passed_over: list[Diagnostic] = field(default_factory=list)
    """A warning for each file that looks like a rule or a template and is not read."""
    beside: frozenset[str] = frozenset()
    """Templates that were not named themselves, and lie beside a named rule file."""

    @property
    def template_files(self) -> int:
        """The number of template files, including those whose name is not unique."""
        return len({file.path for file in self.templates.values()} | {problem.path for problem in self.problems})

    def template_hashes(self) -> dict[str, str]:
        """Each template's name with the hash of its text."""
        return {name: text_hash(file.text) for name, file in self.templates.items()}

    def load(self) -> RuleSet:
        """The rules, checked with the templates they name; raises InvalidRules or TemplateError."""
        self.refuse_problems()
        self.parse_templates()
        return load_rules(self.rules, self.template_hashes())

    def parse_templates(self) -> None:
        """Raises TemplateError for a template that cannot be used."""
        for name, file in self.templates.items():
            parse_template(name, file.text)

    def refuse_problems(self) -> None:
        """Raises InvalidRules if the name of a template is not unique."""
        if self.problems:
            raise InvalidRules(self.problems)


def read_folder(*paths: Path, catalogue: Path | None = None, may_be_empty: bool = False) -> Folder:
    """Reads every rule file and template at or below `paths`.

    A file `events.yaml` is an event catalogue, which `catalogue` replaces; `privacy.yaml` is a privacy file. Raises
    FileNotFoundError, and NothingFound if there is no rule file, unless `may_be_empty`.
    """
    found = find_files(*paths)
    catalogues = [catalogue] if catalogue else [file for file in found.files if file.name in CATALOGUES]
    rules = [file for file in found.files if is_rule(file) and file != catalogue]
    if not rules and not may_be_empty:
        named = ", ".join(map(str, paths))
        passed = f"; {found.passed_over[0].path} is not read" if found.passed_over else ""
        raise NothingFound(f"no rule files (*.yaml) in {named}{passed}")
    sources = [_source(file) for file in rules]
    folders = brand_folders(sources)
    templates, problems = _templates([file for file in found.files if file.suffix == TEMPLATE_SUFFIX], folders)
    beside = frozenset(_name(file, folders) for file in found.beside if file.suffix == TEMPLATE_SUFFIX)
    return Folder(
        " ".join(map(str, paths)),
        sources,
        templates,
        [_source(file) for file in catalogues],
        [_source(file) for file in found.files if file.name in PRIVACY],
        problems,
        found.passed_over,
        beside,
    )


def _name(template: Path, folders: Collection[str]) -> str:
    """A template's name: that of its file, behind the brand's folder if it lies in one."""
    return template_name(str(template), brand_folder(str(template), folders))


def _templates(files: Sequence[Path], folders: Collection[str]) -> tuple[dict[str, SourceFile], list[Diagnostic]]:
    """The templates by name, and a problem for each name that is not unique; upper and lower case are equal."""
    templates: dict[str, SourceFile] = {}
    known: dict[str, Path] = {}
    problems = []
    for file in files:
        name = _name(file, folders)
        other = known.setdefault(name.casefold(), file)
        if other is not file:
            message = f"duplicate template {quoted(_name(other, folders))}: the other is {other}"
            hint = "rename one: a template is found by the name of its file, whatever its folder"
            problems.append(Diagnostic(str(file), 1, 1, "duplicate-template", message, hint, other_path=str(other)))
        templates.setdefault(name, _source(file))
    return templates, problems


def _source(file: Path) -> SourceFile:
    try:
        return SourceFile(str(file), read_text(file))
    except UnreadableFile as error:
        raise NothingFound(str(error)) from None
