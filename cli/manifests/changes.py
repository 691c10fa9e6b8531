"""The differences between two manifests: documents and templates, by name."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cli.manifests.edits import KeyEdit, document_edits, template_edits
from cli.manifests.history import RuleLog
from schemas.rules import Manifest, SetFile
from triggers.language.diagnostics import SourceFile
from triggers.outline import outline

What = Literal["added", "changed", "moved", "removed"]
SIGNS: dict[What, str] = {"added": "+", "changed": "~", "moved": ">", "removed": "-"}
_ENDS = "ends its running occurrences with `withdrawn`"


@dataclass(frozen=True, slots=True)
class ManifestItem:
    """A document or a template of one manifest."""

    kind: str
    name: str
    file: SetFile
    line: int
    text: str
    digest: str
    """Equal for two documents with the same content."""
    values: dict[str, Any]

    @property
    def set(self) -> str:
        """The name of its set."""
        return self.file.set

    def value(self, key: str, default: str = "") -> str:
        """The value of a key of the document."""
        return str(self.values.get(key, default))

    @property
    def mode(self) -> str:
        """A trigger's mode; empty for other kinds."""
        return self.value("mode", "live") if self.kind == "trigger" else ""


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One difference. `ends` says whether it ends running occurrences."""

    what: What
    kind: str
    name: str
    set: str
    detail: str = ""
    ends: bool = False
    edits: tuple[KeyEdit, ...] = ()
    """What a change is, value by value."""

    def as_json(self) -> dict[str, Any]:
        """The change as JSON values, without its edits, which may be as long as a template."""
        return {name: value for name, value in asdict(self).items() if name != "edits"}


def items(log: RuleLog, files: Iterable[SetFile]) -> dict[tuple[str, str], ManifestItem]:
    """Every document and template of the files, by kind and name."""
    found: dict[tuple[str, str], ManifestItem] = {}
    for file in files:
        body = log.texts[file.text].body
        if file.kind == "template":
            found["template", file.name] = ManifestItem("template", file.name, file, 1, body, file.text, {})
            continue
        for each in outline(SourceFile(file.path, body)):
            key = each.kind, each.name
            found[key] = ManifestItem(*key, file, each.line, each.text, each.digest, dict(each.values))
    return found


def changes(
    before: dict[tuple[str, str], ManifestItem], after: dict[tuple[str, str], ManifestItem]
) -> list[RuleChange]:
    """The differences from `before` to `after`, ordered by kind and name."""
    found = []
    for key in sorted(before.keys() | after.keys(), key=lambda key: (key[0] != "trigger", key)):
        change = _change(before.get(key), after.get(key))
        if change is not None:
            found.append(change)
    return found


def _change(old: ManifestItem | None, new: ManifestItem | None) -> RuleChange | None:
    if new is None:
        assert old is not None
        ends = old.kind == "trigger"
        return RuleChange("removed", old.kind, old.name, old.set, _ENDS if ends else "", ends)
    if old is None:
        return RuleChange("added", new.kind, new.name, new.set, f"mode {new.mode}" if new.mode else "")
    edits = _edits(old, new)
    if old.set != new.set:
        edited = f"; changed: {_difference(old, new, edits)}" if edits and new.values else ""
        return RuleChange("moved", new.kind, new.name, new.set, f"from the set {old.set}{edited}", edits=edits)
    return (
        RuleChange("changed", new.kind, new.name, new.set, _difference(old, new, edits), edits=edits) if edits else None
    )


def _edits(old: ManifestItem, new: ManifestItem) -> tuple[KeyEdit, ...]:
    """What differs by its meaning: comments, layout and other ways to write the same are no change."""
    if old.digest == new.digest:
        return ()
    if new.kind == "template":
        return tuple(template_edits(old.text, new.text))
    return tuple(document_edits(new.kind, old.values, new.values))


def _difference(old: ManifestItem, new: ManifestItem, edits: Iterable[KeyEdit]) -> str:
    """The keys that differ; a mode with its old and its new value."""
    keys = dict.fromkeys(edit.key for edit in edits) if new.values else ()
    return ", ".join(f"mode {old.mode} → {new.mode}" if key == "mode" else key for key in keys)


def summary(found: Iterable[RuleChange]) -> str:
    """How many changes there are of each kind, in words."""
    counts: dict[str, int] = dict.fromkeys(SIGNS, 0)
    for change in found:
        counts[change.what] += 1
    named = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join(named) or "no document or template changes"


def manifest_changes(log: RuleLog) -> Iterator[tuple[Manifest, list[RuleChange] | None, bool]]:
    """Each manifest that is kept, with what it changed, and whether its texts are. The changes are None if they cannot
    be known: texts are gone, or it is the oldest one and others came before it."""
    before: dict[tuple[str, str], ManifestItem] | None = None
    if log.manifests and _is_first(log.manifests[0]):
        before = {}
    for manifest in log.manifests:
        whole = all(text in log.texts for text in manifest.texts)
        now = items(log, log.files(manifest)) if whole else None
        yield manifest, changes(before, now) if before is not None and now is not None else None, whole
        before = now


def _is_first(manifest: Manifest) -> bool:
    """Whether no rules were in force before it: each file is new in it, and it replaced no text."""
    files = manifest.files
    return bool(files) and not manifest.pinned and all(file.since == manifest.number for file in files)
