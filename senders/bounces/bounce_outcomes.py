"""The outcomes that a mail at a signed return path means. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from schemas.digests import digest
from schemas.outcomes import Outcome, Reply
from schemas.vocabulary import OutcomeKind
from senders.bounces.delivery_status import code_in
from senders.bounces.mime import Headers
from senders.bounces.refusal import fold
from senders.bounces.returned_mail import Finding, MailKind

PROVIDER = "bounce"
OLDEST: Final = timedelta(days=5)
"""How long a mail may have been on its way (RFC 5321, 4.5.4.1)."""
AHEAD: Final = timedelta(minutes=5)
"""How far the clock of its writer may be ahead."""
_MAX_DATE: Final = 100


@dataclass(frozen=True, slots=True)
class SentCommand:
    """The command that a mail answers. All but its user is unknown for old ones."""

    id: str
    user_id: str
    trigger: str | None = None
    purpose: str | None = None
    step: str | None = None
    variant: str | None = None
    brand: str | None = None
    decided_at: datetime | None = None


def written_at(headers: Headers, now: datetime) -> datetime:
    """When a mail was written, as its Date says, or else the first server that received it.

    The same mail that comes twice has one time, and so is one fact. Without a time in it that can be, that is `now`.
    """
    texts = [headers.get("date"), *(each.rpartition(";")[2] for each in reversed(headers.all("received")))]
    times = (time for text in texts if (time := _time(text)) is not None)
    return next((time for time in times if now - OLDEST <= time <= now + AHEAD), now)


def _time(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text[:_MAX_DATE])
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def outcome_of(findings: Sequence[Finding], command: SentCommand, at: datetime, classifier_hash: str) -> Outcome | None:
    """The outcome for a command; None if the mail says nothing of a bounce or complaint.

    A mail of ours has one recipient. Where several failed behind it, as behind an alias, its address is condemned only
    if all are. The same mail that comes twice is one outcome with one id.
    """
    bounces = [finding for finding in findings if finding.kind is MailKind.BOUNCE]
    if bounces:
        return _bounced(min(bounces, key=lambda finding: finding.hard), command, at, classifier_hash)
    if any(finding.kind is MailKind.COMPLAINT for finding in findings):
        kind = OutcomeKind.COMPLAINED
        return Outcome(id=digest([command.id, kind, PROVIDER]), kind=kind, **_common(command, at))
    return None


def _bounced(found: Finding, command: SentCommand, at: datetime, classifier_hash: str) -> Outcome:
    text = fold(found.text)
    return Outcome(
        id=digest([command.id, OutcomeKind.BOUNCED, found.bounce_class or "", found.hard]),
        kind=OutcomeKind.BOUNCED,
        reply=Reply(code=code_in(text), enhanced=found.status, text=text[:1024]),
        classification=found.bounce_class,
        hard=found.hard,
        classifier_hash=classifier_hash,
        **_common(command, at),
    )


def _common(command: SentCommand, at: datetime) -> dict[str, Any]:
    about = asdict(command)
    return {"command_id": about.pop("id"), "time": at, "provider": PROVIDER, **about}
