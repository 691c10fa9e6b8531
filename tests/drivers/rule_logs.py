"""Logs of rules in memory: what `rules` would hold after folders were published."""

from datetime import UTC, datetime

from cli.manifests.history import RuleLog
from cli.manifests.publication import PublicationPlan, plan_folder
from cli.rules.rule_folder import Folder
from schemas.rules import Manifest

PUBLISHED_AT = datetime(2026, 11, 28, tzinfo=UTC)


def published(log: RuleLog, plan: PublicationPlan, by: str = "ada") -> RuleLog:
    """The log after a plan was published, as `publish` does it."""
    number = plan.number + 1
    new = {"since": number, "at": PUBLISHED_AT, "by": by}
    files = [file if file.since else file.model_copy(update=new) for file in plan.files]
    manifest = Manifest(
        number=number,
        texts=[file.text for file in files],
        files=files,
        applied_at=PUBLISHED_AT,
        applied_by=by,
        restores=plan.restores,
    )
    return RuleLog(log.texts | plan.texts, [*log.manifests, manifest])


def published_sets(*sets: tuple[str, Folder]) -> RuleLog:
    """The log after these folders were published one after the other, each as a set."""
    log = RuleLog()
    for name, each in sets:
        log = published(log, plan_folder(log, each, name))
    return log
