"""Publishing rules: what a folder or an earlier manifest changes, and the numbered manifest that makes it current.

Rules are published by named sets. Who applies one set replaces its files and leaves those of all other sets; workers
load them together, so they are checked together, and a name belongs to one set.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cli.manifests.changes import RuleChange, changes, items
from cli.manifests.history import RuleLog, read_rules
from cli.operations.numbered_records import publish_next
from cli.rules.rule_folder import Folder
from schemas.errors import UserError
from schemas.rules import CURRENT, DEFAULT_SET, Manifest, SetFile, Text, text_hash, text_key
from schemas.topics import RULES
from schemas.types import Fact
from triggers.loader import load_rules
from triggers.rules.ruleset import RuleSet

PINNED_FOR = timedelta(days=400)
"""How long a replaced text is carried on: no occurrence waits longer."""
MAX_PINNED = 1_000
"""Replaced texts that are carried on, the newest: every worker compiles them all whenever a set is published."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ManifestConflict(UserError):
    """Somebody published a manifest after the one that a plan was made for."""


@dataclass(frozen=True, slots=True)
class PublicationPlan:
    """What would be current, and what is different then. Made for the manifest `number`."""

    number: int
    files: list[SetFile]
    """Those of every set. What is new says `since` 0 until it is published."""
    changes: list[RuleChange]
    texts: dict[str, Text]
    """The texts of the files, by their hash."""
    new_texts: list[Text] = field(default_factory=list)
    restores: int | None = None
    same: bool = False
    """Whether every file is as it is: then there is nothing to publish."""

    @property
    def removes(self) -> bool:
        """Whether it removes something, or ends occurrences that run."""
        return any(change.what == "removed" or change.ends for change in self.changes)

    def load(self) -> RuleSet:
        """The rules as workers will load them; raises InvalidRules."""
        log = RuleLog(self.texts)
        templates = {file.name: file.text for file in self.files if file.kind == "template"}
        return load_rules(log.sources(self.files, "rule"), templates)


def plan_folder(log: RuleLog, folder: Folder, name: str = DEFAULT_SET, take_from: str | None = None) -> PublicationPlan:
    """What publishing a folder as the set `name` changes.

    Files of the set `take_from` leave it where the folder has all that they define.
    """
    texts = [Text(kind="rule", path=file.path, body=file.text) for file in folder.rules]
    texts += [Text(kind="template", path=file.path, body=file.text) for file in folder.templates.values()]
    own = [SetFile(set=name, kind=t.kind, path=t.path, text=text_hash(t.body), since=0, at=_EPOCH) for t in texts]
    known = RuleLog(log.texts | {text_hash(text.body): text for text in texts}, log.manifests)
    others = [file for file in log.files() if file.set != name]
    if take_from is not None:
        taken = items(known, own).keys()
        others = [f for f in others if f.set != take_from or not items(known, [f]).keys() <= taken]
    return _plan(known, [*others, *own], texts)


def plan_return(log: RuleLog, number: int, name: str | None = None) -> PublicationPlan:
    """What going back to the manifest of a number changes, of one set or of all; raises NoSuchManifest."""
    earlier = [file for file in log.files(log.manifest(number)) if name in (None, file.set)]
    others = [file for file in log.files() if name is not None and file.set != name]
    return _plan(log, [*others, *earlier], [], number)


def _plan(log: RuleLog, files: list[SetFile], new: list[Text], restores: int | None = None) -> PublicationPlan:
    before = {_identity(file): file for file in log.files()}
    kept = [before.get(_identity(file), file.model_copy(update={"since": 0})) for file in files]
    found = changes(items(log, log.files()), items(log, files))
    same = bool(log.manifests) and {_identity(file) for file in files} == before.keys()
    texts = {file.text: log.texts[file.text] for file in files}
    return PublicationPlan(log.number, kept, found, texts, new, restores, same)


def _identity(file: SetFile) -> tuple[str, str, str, str]:
    """What makes a file another one: a rule file may move, a template is known by its name."""
    return file.set, file.kind, file.text, file.name if file.kind == "template" else ""


def apply_folder(kafka: str, folder: Folder, by: str = "", name: str = DEFAULT_SET) -> Manifest:
    """Publishes the folder as a set and returns the manifest; raises before anything wrong is published.

    The texts that it replaces are named on, for occurrences that began with them and keep to them.
    """
    folder.refuse_problems()
    folder.parse_templates()
    return publish(kafka, lambda log: plan_folder(log, folder, name), by)


def publish(kafka: str, make: Callable[[RuleLog], PublicationPlan], by: str, number: int | None = None) -> Manifest:
    """Publishes what `make` plans for the current manifest; raises InvalidRules where that does not load.

    With `number`, raises ManifestConflict where another manifest than that one is current by now.
    """
    log, published = RuleLog(), list[Manifest]()

    def read() -> Sequence[Manifest]:
        nonlocal log
        log = read_rules(kafka)
        return log.manifests

    def facts(next_number: int, _: Sequence[Manifest]) -> list[tuple[str, Fact]]:
        if number not in (None, log.number):
            who = f" by {log.current.applied_by}" if log.current and log.current.applied_by else ""
            raise ManifestConflict(
                f"manifest {log.number} was published{who} in between; look at the changes and run it again"
            )
        plan = make(log)
        plan.load()
        manifest = _manifest(plan, next_number, by, log.current)
        published.append(manifest)
        return [*((text_key(text_hash(text.body)), text) for text in plan.new_texts), (CURRENT, manifest)]

    publish_next(kafka, RULES, "manifest", read, facts)
    return published[-1]


def _manifest(plan: PublicationPlan, number: int, by: str, before: Manifest | None) -> Manifest:
    now = datetime.now(UTC)
    new = {"since": number, "at": now, "by": by}
    files = [file if file.since else file.model_copy(update=new) for file in plan.files]
    texts = list(dict.fromkeys(file.text for file in files))
    return Manifest(
        number=number,
        texts=texts,
        applied_at=now,
        applied_by=by,
        files=files,
        restores=plan.restores,
        pinned=carried_on(before, texts, now),
    )


def current_manifest(kafka: str) -> Manifest | None:
    """The manifest in force, or None before the first `apply`."""
    return read_rules(kafka).current


def carried_on(before: Manifest | None, texts: Collection[str], now: datetime) -> dict[str, datetime]:
    """The texts that a set replaces or that were replaced before it, each with when: 400 days long, at most 1,000."""
    if before is None:
        return {}
    replaced = before.pinned | dict.fromkeys(before.texts, now)
    kept = {text: at for text, at in replaced.items() if text not in texts and now - at <= PINNED_FOR}
    newest = sorted(kept, key=lambda text: (kept[text], text))[-MAX_PINNED:]
    return {text: kept[text] for text in newest}
