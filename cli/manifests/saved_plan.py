"""Saved plans: a file with the texts that a plan would publish, and the running set that it was made against."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import Field

from cli.manifests.history import RuleLog
from cli.manifests.preparation import SetRequest
from cli.rules.rule_files import RULE_SUFFIXES, TEMPLATE_SUFFIX
from cli.rules.rule_folder import Folder
from cli.text_files import read_bytes
from cli.whole_file import whole_file
from schemas.codec import DecodeError, decode, encode
from schemas.errors import UserError
from schemas.rules import Manifest, Text
from schemas.types import Count, Fact, Instant, Name
from triggers.language.diagnostics import SourceFile

LARGEST_BYTES = 64 * 1024 * 1024
"""Far more than any set has: workers compile all of it at each publication."""
_READ_BY_APPLY = frozenset({*RULE_SUFFIXES, TEMPLATE_SUFFIX})


class NotAPlan(UserError):
    """The file is no saved plan, or cannot be one."""


class PlanOutdated(UserError):
    """The running set is not the one that the plan was made against."""


class SavedPlan(Fact):
    """What `apply` needs to publish exactly what was planned."""

    ebbtide_plan: Literal[1] = 1
    set: Name
    take_from: Name | None = None
    allow_empty: bool = False
    manifest: Count
    """The number of the running manifest; 0 if there was none."""
    running: str
    """A digest of that manifest: after a loss of the topic, another one may have its number."""
    made_at: Instant
    made_by: str = ""
    root: Annotated[str, Field(max_length=4096)]
    rules: list[Text]
    templates: dict[str, Text]
    """By name, which may begin with a brand's folder."""

    def folder(self) -> Folder:
        """The files as they were when the plan was made."""
        rules = [SourceFile(text.path, text.body) for text in self.rules]
        templates = {name: SourceFile(text.path, text.body) for name, text in self.templates.items()}
        return Folder(self.root, rules, templates)

    def require_current(self, log: RuleLog) -> None:
        """Raises PlanOutdated if another manifest became current since."""
        if (self.manifest, self.running) == (log.number, digest_of(log.current)):
            return
        was = f"manifest {self.manifest}" if self.manifest else "no manifest"
        now = log.current
        by = f" by {now.applied_by}" if now is not None and now.applied_by else ""
        moved = (
            f"manifest {now.number} of {now.applied_at:%Y-%m-%d %H:%M:%S}{by} is current" if now else "none is there"
        )
        raise PlanOutdated(f"the running rules have moved: this plan was made against {was}, and {moved}; plan again")


def saved_plan(log: RuleLog, folder: Folder, request: SetRequest, made_at: datetime, made_by: str) -> SavedPlan:
    """The plan to publish this folder, against what runs now."""
    rules = [Text(kind="rule", path=file.path, body=file.text) for file in folder.rules]
    templates = {n: Text(kind="template", path=file.path, body=file.text) for n, file in folder.templates.items()}
    base = {"manifest": log.number, "running": digest_of(log.current)}
    asked = {"set": request.name, "take_from": request.take_from, "allow_empty": request.allow_empty}
    made = {"made_at": made_at, "made_by": made_by, "root": folder.root, "rules": rules, "templates": templates}
    return SavedPlan.model_validate({**base, **asked, **made})


def digest_of(manifest: Manifest | None) -> str:
    """Differs between two manifests, also of one number."""
    return hashlib.blake2b(b"" if manifest is None else encode(manifest), digest_size=16).hexdigest()


def require_plan_name(file: Path) -> None:
    """Raises NotAPlan for a name under which `apply` would read the file as a rule or a template."""
    if file.suffix in _READ_BY_APPLY:
        raise NotAPlan(f"{file}: names in {file.suffix} are those of rules and templates; write it as {file.stem}.plan")


def is_plan(paths: list[Path]) -> bool:
    """Whether `apply` is given a saved plan: one file, with a name that no rule and no template has."""
    return len(paths) == 1 and paths[0].is_file() and paths[0].suffix not in _READ_BY_APPLY


def write_plan(file: Path, plan: SavedPlan) -> None:
    """Writes the plan; a file that is there already is replaced at once."""
    with whole_file(file) as out:
        out.write(orjson.dumps(plan.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n")


def read_plan(file: Path) -> SavedPlan:
    """The plan in a file; raises NotAPlan."""
    if file.stat().st_size > LARGEST_BYTES:
        raise NotAPlan(f"{file}: longer than any plan; `ebbtide plan PATH --out FILE` writes one")
    try:
        return decode(SavedPlan, read_bytes(file))
    except DecodeError as error:
        raise NotAPlan(f"{file}: not a saved plan: {error.detail}; `ebbtide plan PATH --out FILE` writes one") from None
