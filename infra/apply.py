"""Publishing a folder of rules and templates: texts by their hash, with the manifest that makes them current."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.kafka import read_all
from infra.numbering import publish_next
from infra.rule_files import CATALOGUES, TEMPLATE_SUFFIX, NothingFound, find_files, is_rule
from schemas.codec import DecodeError, decode
from schemas.rules import CURRENT, Manifest, Text, text_hash, text_key
from schemas.topics import RULES
from schemas.types import Fact
from senders.render import parse_template
from triggers.diagnostics import Diagnostic, InvalidRules, SourceFile, quoted
from triggers.loader import load_rules
from triggers.ruleset import RuleSet

PINNED_FOR = timedelta(days=400)
"""How long a replaced text is carried on: no occurrence waits longer."""
MAX_PINNED = 1_000
"""Replaced texts that are carried on, the newest: every worker compiles them all whenever a set is published."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Rule files and templates as they were read from disk."""

    root: str
    rules: list[SourceFile]
    templates: dict[str, SourceFile]
    catalogues: list[SourceFile] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    """Templates whose name another one has too: which of them would be sent, nobody could tell."""
    passed_over: list[Diagnostic] = field(default_factory=list)
    """A warning for each file that looks like a rule or a template and is not read."""
    beside: frozenset[str] = frozenset()
    """The templates that were not named, and lie beside a rule file that was."""

    def template_hashes(self) -> dict[str, str]:
        """Each template's name with the hash of its text."""
        return {name: text_hash(file.text) for name, file in self.templates.items()}

    def load(self) -> RuleSet:
        """The rules, checked with the templates they name; raises InvalidRules or TemplateError."""
        self.refuse_problems()
        for name, file in self.templates.items():
            parse_template(name, file.text)
        return load_rules(self.rules, self.template_hashes())

    def refuse_problems(self) -> None:
        """Raises InvalidRules where a template's name is not its alone."""
        if self.problems:
            raise InvalidRules(self.problems)


def read_folder(*paths: Path, catalogue: Path | None = None) -> Folder:
    """Every rule file and template at or below `paths`; raises NothingFound or FileNotFoundError.

    A file `events.yaml` is an event catalogue; `catalogue` names one that is used instead.
    """
    found = find_files(*paths)
    catalogues = [catalogue] if catalogue else [file for file in found.files if file.name in CATALOGUES]
    rules = [file for file in found.files if is_rule(file) and file != catalogue]
    if not rules:
        named = ", ".join(map(str, paths))
        passed = f"; {found.passed_over[0].path} is not read" if found.passed_over else ""
        raise NothingFound(f"no rule files (*.yaml) in {named}{passed}")
    templates, problems = _templates([file for file in found.files if file.suffix == TEMPLATE_SUFFIX])
    beside = frozenset(file.stem for file in found.beside if file.suffix == TEMPLATE_SUFFIX)
    return Folder(
        " ".join(map(str, paths)),
        [_source(file) for file in rules],
        templates,
        [_source(file) for file in catalogues],
        problems,
        found.passed_over,
        beside,
    )


def _templates(files: Sequence[Path]) -> tuple[dict[str, SourceFile], list[Diagnostic]]:
    """The templates by name, and a problem for each whose name another has, however it is written."""
    templates: dict[str, SourceFile] = {}
    known: dict[str, Path] = {}
    problems = []
    for file in files:
        other = known.setdefault(file.stem.casefold(), file)
        if other is not file:
            message = f"there is another template {quoted(other.stem)}, {other}"
            hint = "rename one: a template is found by its file's name alone, whatever folder it is in"
            problems.append(Diagnostic(str(file), 1, 1, "duplicate-template", message, hint))
        templates.setdefault(file.stem, _source(file))
    return templates, problems


def _source(file: Path) -> SourceFile:
    try:
        return SourceFile(str(file), file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise NothingFound(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise NothingFound(f"{file}: cannot be read: {error.strerror}") from None


def current_manifest(kafka: str) -> Manifest | None:
    """The manifest in force, or None before the first `apply`."""
    return max(_manifests(kafka), key=lambda manifest: manifest.number, default=None)


def _manifests(kafka: str) -> list[Manifest]:
    found = []
    for message in read_all(kafka, RULES.name):
        if message.key() == CURRENT.encode():
            try:
                found.append(decode(Manifest, message.value()))
            except DecodeError:  # no manifest: workers say so, and ignore it too
                continue
    return found


def apply_folder(kafka: str, folder: Folder, by: str = "") -> Manifest:
    """Publishes the folder as one numbered set and returns its manifest; raises before anything wrong is published.

    The texts that it replaces are named on, for occurrences that began with them and keep to them.
    """
    folder.load()
    texts = [Text(kind="rule", path=f.path, body=f.text) for f in folder.rules]
    texts += [Text(kind="template", path=f.path, body=f.text) for f in folder.templates.values()]
    manifest = Manifest(
        number=0, texts=[text_hash(text.body) for text in texts], applied_at=datetime.now(UTC), applied_by=by
    )

    published = manifest

    def facts(number: int, known: Sequence[Manifest]) -> list[tuple[str, Fact]]:
        nonlocal published
        before = max(known, key=lambda each: each.number, default=None)
        pinned = carried_on(before, frozenset(manifest.texts), manifest.applied_at)
        published = manifest.model_copy(update={"number": number, "pinned": pinned})
        return [*((text_key(text_hash(text.body)), text) for text in texts), (CURRENT, published)]

    publish_next(kafka, RULES, "manifest", lambda: _manifests(kafka), facts)
    return published


def carried_on(before: Manifest | None, texts: Collection[str], now: datetime) -> dict[str, datetime]:
    """The texts that a set replaces or that were replaced before it, each with when: 400 days long, at most 1,000."""
    if before is None:
        return {}
    replaced = before.pinned | dict.fromkeys(before.texts, now)
    kept = {text: at for text, at in replaced.items() if text not in texts and now - at <= PINNED_FOR}
    newest = sorted(kept, key=lambda text: (kept[text], text))[-MAX_PINNED:]
    return {text: kept[text] for text in newest}
