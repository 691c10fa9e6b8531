"""The outcomes of what recipients did. Pure.

What the same mail's link or pixel is asked for again within a second, by the same evidence, is one fact, whichever
process was asked: its id and time are the same.
"""

from datetime import UTC, datetime, timedelta

from schemas.digests import digest
from schemas.outcomes import Outcome
from schemas.vocabulary import Evidence, OutcomeKind
from web.recipients.evidence import Hit, evidence_of, is_machine
from web.recipients.stored import MailOrigin

_SECOND_US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def of_hit(hit: Hit, origin: MailOrigin) -> Outcome:
    """An open or a click, at the beginning of its second."""
    accepted = origin.accepted_at
    evidence = evidence_of(hit, None if accepted is None else microseconds(accepted))
    second = hit.at_us // _SECOND_US
    return _outcome(hit.kind, hit.command_id, origin, second, evidence, [hit.link.hex()], hit.url)


def of_unsubscribe(command_id: str, origin: MailOrigin, at_us: int, evidence: Evidence) -> Outcome:
    """An unsubscribe, at the end of its second: a consent that was given just before must not outlive it."""
    return _outcome(OutcomeKind.UNSUBSCRIBED, command_id, origin, -(-at_us // _SECOND_US), evidence, [], None)


def _outcome(
    kind: OutcomeKind,
    command_id: str,
    origin: MailOrigin,
    second: int,
    evidence: Evidence,
    more: list[str],
    url: str | None,
) -> Outcome:
    return Outcome(
        id=digest([command_id, kind, second, evidence, *more]),
        command_id=command_id,
        user_id=origin.user_id,
        trigger=origin.trigger,
        purpose=origin.purpose,
        step=origin.step,
        variant=origin.variant,
        brand=origin.brand,
        decided_at=origin.decided_at,
        kind=kind,
        time=_EPOCH + timedelta(seconds=second),
        machine=is_machine(evidence),
        evidence=evidence,
        url=url,
    )


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
