"""Prepares a folder for publication: checked with the other current sets, and compared with what runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.manifests.changes import items
from cli.manifests.history import RuleLog, read_rules
from cli.manifests.publication import PublicationPlan, plan_folder
from cli.manifests.set_checks import check_among, may_be_valid
from cli.rules.checking import CheckResult, check_paths
from cli.rules.rule_files import NothingFound


class RefusedSet(Exception):
    """The folder has a problem, alone or together with the other sets."""

    def __init__(self, checked: CheckResult) -> None:
        super().__init__(checked.summary())
        self.checked = checked


@dataclass(frozen=True, slots=True)
class SetRequest:
    """As which set files are published."""

    name: str
    take_from: str | None = None
    allow_empty: bool = False

    def command(self, verb: str, paths: Sequence[Path]) -> str:
        """The command line that asks for it."""
        more = [] if self.name == "default" else ["--set", self.name]
        more += ["--allow-empty"] * self.allow_empty + (["--take-from", self.take_from] if self.take_from else [])
        return " ".join(["ebbtide", verb, *map(str, paths), *more])


@dataclass(frozen=True, slots=True)
class PreparedSet:
    """A folder without problems, what publishing it changes, and what runs now."""

    checked: CheckResult
    log: RuleLog
    plan: PublicationPlan


def prepare(kafka: str, paths: Sequence[Path], catalogue: Path | None, request: SetRequest) -> PreparedSet:
    """Reads and checks the files, and plans to publish them; raises RefusedSet, NoSuchSet or NothingFound."""
    checked = check_paths(paths, catalogue, may_be_empty=request.allow_empty, publishing=True)
    if not may_be_valid(checked):
        raise RefusedSet(checked)
    prepared = prepare_among(read_rules(kafka), checked, request)
    if not request.allow_empty:
        _refuse_empty(prepared.plan, request.name, paths)
    return prepared


def prepare_among(log: RuleLog, checked: CheckResult, request: SetRequest) -> PreparedSet:
    """Checks files together with the other sets, and plans to publish them; raises RefusedSet or NoSuchSet."""
    if request.take_from is not None:
        log.require_set(request.take_from, log.files())
    plan = plan_folder(log, checked.folder, request.name, request.take_from)
    others = [file for file in plan.files if file.set != request.name]
    if others:
        checked = check_among(checked, log, others)
    if checked.wrong:
        raise RefusedSet(checked)
    return PreparedSet(checked, log, plan)


def _refuse_empty(plan: PublicationPlan, name: str, paths: Sequence[Path]) -> None:
    """Raises NothingFound for a set without documents."""
    own = items(RuleLog(plan.texts), [file for file in plan.files if file.set == name])
    if any(kind != "template" for kind, _ in own):
        return
    removed = sum(change.what == "removed" for change in plan.changes)
    where = ", ".join(map(str, paths))
    if not removed:
        raise NothingFound(f"no rule in {where}: nothing to publish")
    removes = f"this would remove all {removed} rules and templates of the set {name}"
    raise NothingFound(f"no rule in {where}; {removes}. To remove them, add --allow-empty")
