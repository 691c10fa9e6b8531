"""Publishing a folder of rules and templates: texts by their hash, with the manifest that makes them current."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.kafka import read_all
from infra.numbering import publish_next
from schemas.codec import DecodeError, decode
from schemas.rules import CURRENT, Manifest, Text, text_hash, text_key
from schemas.topics import RULES
from schemas.types import Fact
from senders.render import parse_template
from triggers.diagnostics import SourceFile
from triggers.loader import load_rules
from triggers.ruleset import RuleSet

RULE_SUFFIXES = {".yaml", ".yml"}
TEMPLATE_SUFFIX = ".liquid"
PINNED_FOR = timedelta(days=400)
"""How long a replaced text is carried on: no occurrence waits longer."""
MAX_PINNED = 1_000
"""Replaced texts that are carried on, the newest: every worker compiles them all whenever a set is published."""
CATALOGUE = "events.yaml"
"""The name of the file beside the rules that says which events there are."""


class NothingFound(ValueError):
    """The paths hold no rule file."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Rule files and templates as they were read from disk."""

    root: str
    rules: list[SourceFile]
    templates: dict[str, SourceFile]
    catalogues: list[SourceFile] = field(default_factory=list)

    def template_hashes(self) -> dict[str, str]:
        """Each template's name with the hash of its text."""
        return {name: text_hash(file.text) for name, file in self.templates.items()}

    def load(self) -> RuleSet:
        """The rules, checked with the templates they name; raises InvalidRules or TemplateError."""
        for name, file in self.templates.items():
            parse_template(name, file.text)
        return load_rules(self.rules, self.template_hashes())


def read_folder(*paths: Path, catalogue: Path | None = None) -> Folder:
    """Every rule file and template at or below `paths`; raises NothingFound or FileNotFoundError.

    A file `events.yaml` is an event catalogue; `catalogue` names one that is used instead.
    """
    rules, templates = [], {}
    files = sorted({f for path in paths for f in _files(path)})
    catalogues = [catalogue] if catalogue else [f for f in files if f.name == CATALOGUE]
    for file in files:
        if file.suffix in RULE_SUFFIXES and file.name != CATALOGUE and file != catalogue:
            rules.append(_source(file))
        elif file.suffix == TEMPLATE_SUFFIX:
            templates[file.stem] = _source(file)
    if not rules:
        named = ", ".join(map(str, paths))
        raise NothingFound(f"no rule files (*.yaml) in {named}")
    return Folder(" ".join(map(str, paths)), rules, templates, [_source(file) for file in catalogues])


def _source(file: Path) -> SourceFile:
    try:
        return SourceFile(str(file), file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise NothingFound(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None


def _files(path: Path) -> list[Path]:
    if path.is_file():
        beside = path.parent / CATALOGUE
        templates = path.parent.glob(f"templates/*{TEMPLATE_SUFFIX}")
        return [path, *templates, *([beside] if beside.is_file() else [])]
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    found = [f for f in path.rglob("*") if f.is_file()]
    return [f for f in found if not any(part.startswith(".") for part in f.relative_to(path).parts)]


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
