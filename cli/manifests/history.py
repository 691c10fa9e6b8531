"""The content of the topic `rules`: all texts and all manifests that are still kept."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from infra.kafka.topic_reader import read_all
from schemas.codec import DecodeError, decode
from schemas.errors import UserError
from schemas.rules import CURRENT, Manifest, SetFile, Text
from schemas.topics import RULES
from schemas.wording import counted, nearest
from streams.decisions.rulefeed import manifest_files
from triggers.language.diagnostics import SourceFile


class NoSuchManifest(UserError):
    """The manifest, or a text that it names, is no longer kept."""


class NoSuchSet(UserError):
    """No file belongs to the set."""


@dataclass(slots=True)
class RuleLog:
    """The texts by hash, and the manifests ordered by number."""

    texts: dict[str, Text] = field(default_factory=dict)
    manifests: list[Manifest] = field(default_factory=list)

    @property
    def current(self) -> Manifest | None:
        """The manifest in force; None before the first one."""
        return self.manifests[-1] if self.manifests else None

    @property
    def number(self) -> int:
        """The current manifest's number; 0 before the first one."""
        return self.manifests[-1].number if self.manifests else 0

    def files(self, manifest: Manifest | None = None) -> list[SetFile]:
        """The files of a manifest, by default of the current one."""
        manifest = manifest or self.current
        return [] if manifest is None else manifest_files(manifest, self.texts)

    def manifest(self, number: int) -> Manifest:
        """The manifest of a number, if all its texts are kept; raises NoSuchManifest with the numbers that are kept."""
        found = next((each for each in self.manifests if each.number == number), None)
        if found is None:
            there = ", ".join(str(each.number) for each in self.manifests) or "none"
            raise NoSuchManifest(
                f"manifest {number} is not kept; kept: {there}. Replaced manifests are kept for at least 7 days"
            )
        missing = [digest for digest in found.texts if digest not in self.texts]
        if missing:
            raise NoSuchManifest(f"manifest {number} is incomplete: {counted(len(missing), 'text')} no longer kept")
        return found

    def require_set(self, name: str, files: Iterable[SetFile]) -> None:
        """Raises NoSuchSet, which lists the known sets, if no file belongs to the set."""
        known = {file.set for file in files}
        if name not in known:
            raise NoSuchSet(f"no set {name!r}; {nearest(name, known) or 'nothing was applied yet'}")

    def sources(self, files: Iterable[SetFile], kind: str, label: bool = False) -> list[SourceFile]:
        """The published files of one kind; with `label`, each path begins with its set."""
        return [
            SourceFile(labelled_path(file) if label else file.path, self.texts[file.text].body)
            for file in files
            if file.kind == kind
        ]


def labelled_path(file: SetFile) -> str:
    """The path of a published file, with its set's name."""
    return f"set {file.set}: {file.path}"


def read_rules(kafka: str) -> RuleLog:
    """Reads the whole topic."""
    log, manifests = RuleLog(), dict[int, Manifest]()
    for message in read_all(kafka, RULES.name):
        key, value = (message.key() or b"").decode(errors="replace"), message.value()
        try:
            if key == CURRENT:
                manifest = decode(Manifest, value)
                manifests[manifest.number] = manifest
            elif value is None:
                log.texts.pop(key.removeprefix("text/"), None)
            else:
                log.texts[key.removeprefix("text/")] = decode(Text, value)
        except DecodeError:  # neither a manifest nor a text: workers log it, and ignore it too
            continue
    log.manifests = [manifests[number] for number in sorted(manifests)]
    return log
