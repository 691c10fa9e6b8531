"""Publishing a folder of rules and templates: texts by their hash, then the manifest that makes them current."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.kafka import Publisher, read_all
from schemas.codec import decode, encode
from schemas.rules import CURRENT, Manifest, Text, text_hash, text_key
from schemas.topics import RULES
from senders.render import parse_template
from triggers.diagnostics import SourceFile
from triggers.loader import load_rules
from triggers.ruleset import RuleSet

RULE_SUFFIXES = {".yaml", ".yml"}
TEMPLATE_SUFFIX = ".liquid"


class NothingFound(ValueError):
    """The paths hold no rule file."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Rule files and templates as they were read from disk."""

    root: str
    rules: list[SourceFile]
    templates: dict[str, SourceFile]

    def template_hashes(self) -> dict[str, str]:
        """Each template's name with the hash of its text."""
        return {name: text_hash(file.text) for name, file in self.templates.items()}

    def load(self) -> RuleSet:
        """The rules, checked with the templates they name; raises InvalidRules or TemplateError."""
        for name, file in self.templates.items():
            parse_template(name, file.text)
        return load_rules(self.rules, self.template_hashes())


def read_folder(*paths: Path) -> Folder:
    """Every rule file and template at or below `paths`; raises NothingFound or FileNotFoundError."""
    rules, templates = [], {}
    for file in sorted({f for path in paths for f in _files(path)}):
        if file.suffix in RULE_SUFFIXES:
            rules.append(SourceFile(str(file), file.read_text(encoding="utf-8")))
        elif file.suffix == TEMPLATE_SUFFIX:
            templates[file.stem] = SourceFile(str(file), file.read_text(encoding="utf-8"))
    if not rules:
        named = ", ".join(map(str, paths))
        raise NothingFound(f"no rule files (*.yaml) in {named}")
    return Folder(" ".join(map(str, paths)), rules, templates)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path, *path.parent.glob(f"templates/*{TEMPLATE_SUFFIX}")]
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    return [f for f in path.rglob("*") if f.is_file() and not any(p.startswith(".") for p in f.parts)]


def current_manifest(kafka: str) -> Manifest | None:
    """The manifest in force, or None before the first `apply`."""
    found = [decode(Manifest, m.value()) for m in read_all(kafka, RULES.name) if m.key() == CURRENT.encode()]
    return max(found, key=lambda m: m.number, default=None)


def apply_folder(kafka: str, folder: Folder, by: str = "") -> Manifest:
    """Publishes the folder as one numbered set and returns its manifest; raises before anything wrong is published."""
    folder.load()
    texts = [Text(kind="rule", path=f.path, body=f.text) for f in folder.rules]
    texts += [Text(kind="template", path=f.path, body=f.text) for f in folder.templates.values()]
    before = current_manifest(kafka)
    manifest = Manifest(
        number=before.number + 1 if before else 1,
        texts=[text_hash(text.body) for text in texts],
        applied_at=datetime.now(UTC),
        applied_by=by,
    )
    with Publisher(kafka) as publisher:
        for text in texts:
            publisher.send(RULES.name, text_key(text_hash(text.body)).encode(), encode(text))
        publisher.flush()  # the texts are there before the manifest that names them
        publisher.send(RULES.name, CURRENT.encode(), encode(manifest))
    return manifest
