"""The questions that each command is asked before a mail is made, in their order, each with a named answer. Pure.

A stage looks at a `DeliveryRequest` and either lets it pass (None), ends it (`Stop`) or delays it (`Delay`). What the
recipients view says against a command counts only where the view is at least as new as the command: a profile or a
consent that is still on its way must not look like one that was never given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.commands import SendCommand
from schemas.vocabulary import TRANSACTIONAL, DeliveryReason, LedgerState, SuppressionReason
from senders.content.recipient import Recipient

EVERY_PURPOSE = "*"
"""The scope of a suppression that withholds all mail from an address."""
LOOK_AGAIN = timedelta(seconds=1)
"""How soon a waiting command is asked again; the view is brought up to date about twice a second."""


@dataclass(frozen=True, slots=True)
class DeliveryRequest:
    """One command and all that is known about it at `now`. `view_as_of` is absent while the view was never filled."""

    command: SendCommand
    now: datetime
    admitted_at: datetime
    recipient: Recipient | None
    suppressed_scopes: frozenset[str]
    view_as_of: datetime | None
    stale_after: timedelta

    @property
    def address(self) -> str | None:
        """Where the mail goes: the address that the rule wrote, or else the profile's."""
        return self.command.to or (self.recipient.address if self.recipient else None)

    @property
    def needs_consent(self) -> bool:
        """Whether the purpose is one that users say yes or no to."""
        return self.command.purpose != TRANSACTIONAL

    @property
    def view_is_conclusive(self) -> bool:
        """Whether the view has reached the moment at which the command was decided."""
        return self.view_as_of is not None and self.view_as_of >= min(self.command.decided_at, self.admitted_at)


@dataclass(frozen=True, slots=True)
class Stop:
    """No mail will be sent: the final state and why."""

    state: LedgerState
    reason: SuppressionReason | DeliveryReason | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """No mail yet: why, and when to ask again."""

    reason: DeliveryReason
    until: datetime


PolicyAnswer = Stop | Delay | None


def expired(request: DeliveryRequest) -> PolicyAnswer:
    """Is it too late?"""
    return Stop(LedgerState.EXPIRED) if request.now >= request.command.expires_at else None


def deliverable(request: DeliveryRequest) -> PolicyAnswer:
    """Is it mail at all? No other channel is spoken here."""
    if request.command.channel == "email":
        return None
    return Stop(LedgerState.FAILED, DeliveryReason.CHANNEL, request.command.channel)


def view_fresh(request: DeliveryRequest) -> PolicyAnswer:
    """Is the view of consent and suppression fresh enough for a purpose that can be withdrawn?"""
    fresh = request.view_as_of is not None and request.now - request.view_as_of <= request.stale_after
    return None if fresh or not request.needs_consent else _wait(request, DeliveryReason.CONSENT_STALE)


def recipient_known(request: DeliveryRequest) -> PolicyAnswer:
    """Is there an address?"""
    if request.address is not None:
        return None
    return _once_conclusive(request, SuppressionReason.NO_RECIPIENT)


def not_suppressed(request: DeliveryRequest) -> PolicyAnswer:
    """May the address get mail of this purpose?"""
    if request.suppressed_scopes.isdisjoint({EVERY_PURPOSE, request.command.purpose}):
        return None
    return Stop(LedgerState.SUPPRESSED, SuppressionReason.SUPPRESSED)


def consented(request: DeliveryRequest) -> PolicyAnswer:
    """Did the user agree to this purpose?"""
    if not request.needs_consent or (request.recipient and request.recipient.consents(request.command.purpose)):
        return None
    return _once_conclusive(request, SuppressionReason.NO_CONSENT)


STAGES: tuple[Callable[[DeliveryRequest], PolicyAnswer], ...] = (
    expired,
    deliverable,
    view_fresh,
    recipient_known,
    not_suppressed,
    consented,
)


def judge(request: DeliveryRequest) -> PolicyAnswer:
    """The first answer that any stage gives; None where the mail may be made."""
    for stage in STAGES:
        answer = stage(request)
        if answer is not None:
            return answer
    return None


def _once_conclusive(request: DeliveryRequest, reason: SuppressionReason) -> PolicyAnswer:
    if request.view_is_conclusive:
        return Stop(LedgerState.SUPPRESSED, reason)
    return _wait(request, DeliveryReason.VIEW_BEHIND)


def _wait(request: DeliveryRequest, reason: DeliveryReason) -> Delay:
    return Delay(reason, min(request.now + LOOK_AGAIN, request.command.expires_at))
