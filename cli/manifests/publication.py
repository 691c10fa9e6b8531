"""Publishes rules: plans what a folder or an earlier manifest changes, and writes the numbered manifest.

Rules are published in named sets. Applying a set replaces its files and leaves those of all other sets. Workers load
all sets together, so they are checked together, and a name belongs to one set.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cli.auditing import NumberedChange, audit_numbered
from cli.environment import Environment
from cli.manifests.changes import RuleChange, changes, items, manifest_changes
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
"""How long manifests name a replaced text: no occurrence waits longer."""
MAX_PINNED = 1_000
"""The newest replaced texts that a manifest names: every worker compiles all of them at each publication."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ManifestConflict(UserError):
    """Somebody published another manifest after the plan was made."""


@dataclass(frozen=True, slots=True)
class PublicationPlan:
    """The files that would be current, and what changes, compared with the manifest `number`."""

    number: int
    files: list[SetFile]
    """The files of every set. A new one has `since` 0 until it is published."""
    changes: list[RuleChange]
    texts: dict[str, Text]
    """The texts of the files, by their hash."""
    new_texts: list[Text] = field(default_factory=list)
    restores: int | None = None
    same: bool = False
    """Whether no file changes: then there is nothing to publish."""

    @property
    def removes(self) -> bool:
        """Whether it removes something, or ends running occurrences."""
        return any(change.what == "removed" or change.ends for change in self.changes)

    def load(self) -> RuleSet:
        """The rules as workers will load them; raises InvalidRules."""
        log = RuleLog(self.texts)
        templates = {file.name: file.text for file in self.files if file.kind == "template"}
        return load_rules(log.sources(self.files, "rule"), templates)


def plan_folder(log: RuleLog, folder: Folder, name: str = DEFAULT_SET, take_from: str | None = None) -> PublicationPlan:
    """Plans to publish a folder as the set `name`.

    A file of the set `take_from` leaves that set if the folder has everything that it defines.
    """
    rules = [Text(kind="rule", path=file.path, body=file.text) for file in folder.rules]
    templates = [Text(kind="template", path=file.path, body=file.text) for file in folder.templates.values()]
    texts = [*rules, *templates]
    folders = ["" for _ in rules] + [template.rpartition("/")[0] for template in folder.templates]
    own = [
        SetFile(set=name, kind=t.kind, path=t.path, text=text_hash(t.body), since=0, at=_EPOCH, folder=of_brand)
        for t, of_brand in zip(texts, folders, strict=True)
    ]
    known = RuleLog(log.texts | {text_hash(text.body): text for text in texts}, log.manifests)
    others = [file for file in log.files() if file.set != name]
    if take_from is not None:
        taken = items(known, own).keys()
        others = [f for f in others if f.set != take_from or not items(known, [f]).keys() <= taken]
    return _plan(known, [*others, *own], texts)


def plan_rollback(log: RuleLog, number: int, name: str | None = None) -> PublicationPlan:
    """Plans to restore an earlier manifest, for one set or for all; raises NoSuchManifest."""
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
    """What identifies a file: its text and its set; for a template also its name, since a rule file may move."""
    return file.set, file.kind, file.text, file.name if file.kind == "template" else ""


def apply_folder(kafka: str, folder: Folder, by: str = "", name: str = DEFAULT_SET) -> Manifest:
    """Publishes the folder as a set and returns the manifest; raises before it publishes anything wrong.

    The manifest also names the texts that it replaces: running occurrences go on with them.
    """
    folder.refuse_problems()
    folder.parse_templates()
    return publish(kafka, lambda log: plan_folder(log, folder, name), by)


def publish(kafka: str, make: Callable[[RuleLog], PublicationPlan], by: str, number: int | None = None) -> Manifest:
    """Publishes what `make` plans for the current manifest; raises InvalidRules if that does not load.

    With `number`, raises ManifestConflict if the current manifest has another number.
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
                f"manifest {log.number} was published{who} meanwhile; look at its changes, then run this again"
            )
        plan = make(log)
        manifest = _manifest(plan, plan.load(), next_number, by, log.current)
        published.append(manifest)
        return [*((text_key(text_hash(text.body)), text) for text in plan.new_texts), (CURRENT, manifest)]

    publish_next(kafka, RULES, "manifest", read, facts)
    return published[-1]


def _manifest(plan: PublicationPlan, rules: RuleSet, number: int, by: str, before: Manifest | None) -> Manifest:
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
        endpoints=list(rules.endpoints.values()),
        pinned=carry_over(before, texts, now),
        brands=list(rules.brands.values()),
    )


def audit_manifest(environment: Environment, made: Manifest) -> None:
    """Adds a manifest that was published to the audit, and those before it that are not there."""
    audit_numbered(environment, RULES.name, made.number, lambda: _numbered(read_rules(environment.kafka)))


def _numbered(log: RuleLog) -> Iterator[NumberedChange]:
    before = None
    for manifest, found, _ in manifest_changes(log):
        after = {
            "at": manifest.applied_at.isoformat(),
            "restores": manifest.restores,
            "changes": None if found is None else [change.as_json() for change in found],
        }
        subject = f"manifest {manifest.number}"
        yield NumberedChange(
            manifest.number, manifest.applied_by, "rules", subject, before and {"manifest": before.number}, after
        )
        before = manifest


def current_manifest(kafka: str) -> Manifest | None:
    """The manifest in force, or None before the first `apply`."""
    return read_rules(kafka).current


def carry_over(before: Manifest | None, texts: Collection[str], now: datetime) -> dict[str, datetime]:
    """The replaced texts that a manifest still names, and when each was replaced: for 400 days, at most 1,000."""
    if before is None:
        return {}
    replaced = before.pinned | dict.fromkeys(before.texts, now)
    kept = {text: at for text, at in replaced.items() if text not in texts and now - at <= PINNED_FOR}
    newest = sorted(kept, key=lambda text: (kept[text], text))[-MAX_PINNED:]
    return {text: kept[text] for text in newest}
