"""The stages of delivery's policy: the checks of each command before a mail is made, in their order. Pure.

A stage reads a `DeliveryRequest` and lets it pass (None), ends it (`Stop`) or delays it (`Delay`). The recipients view
can end a command only if the view is at least as new as the command: a profile that is not read yet must not look like
one that was never published.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.commands import SendCommand
from schemas.endpoints import WEBHOOK
from schemas.vocabulary import TRANSACTIONAL, DeliveryReason, LedgerState, PauseMode, SuppressionReason
from senders.content.recipient import Recipient
from senders.policy.switches import NO_SWITCHES, DeliverySwitches, label

EVERY_PURPOSE = "*"
"""The scope of a suppression for all purposes."""
ASK_AGAIN = timedelta(seconds=1)
"""How soon the stages check a postponed command again. The view is updated about twice a second."""


@dataclass(frozen=True, slots=True)
class DeliveryRequest:
    """One command and what is known about it at `now`. `view_as_of` is None until the view has been read once.

    `clock_ahead` is how far `now` is ahead of the database's clock, which dates the view. `removed_at` is when the user
    was removed, also if there is a newer profile.
    """

    command: SendCommand
    now: datetime
    admitted_at: datetime
    recipient: Recipient | None
    suppressed_scopes: frozenset[str]
    view_as_of: datetime | None
    stale_after: timedelta
    switches: DeliverySwitches = NO_SWITCHES
    clock_ahead: timedelta = timedelta(0)
    removed_at: datetime | None = None

    @property
    def address(self) -> str | None:
        """Where the mail goes: the address in the command, or else the one in the profile. A webhook has none."""
        if self.is_webhook:
            return None
        return self.command.to or (self.recipient.address if self.recipient else None)

    @property
    def is_webhook(self) -> bool:
        """Whether the command is no message to the user."""
        return self.command.channel == WEBHOOK

    @property
    def needs_consent(self) -> bool:
        """Whether users consent to this purpose, or refuse it."""
        return self.command.purpose != TRANSACTIONAL

    @property
    def view_is_conclusive(self) -> bool:
        """Whether the view is at least as new as the decision to send."""
        return self.view_as_of is not None and self.view_as_of >= min(self.command.decided_at, self.admitted_at)


@dataclass(frozen=True, slots=True)
class Stop:
    """No mail is sent: the final state and why."""

    state: LedgerState
    reason: SuppressionReason | DeliveryReason | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """No mail is sent yet: why, and when to ask again, at the latest if the command waits for its turn in a line."""

    reason: DeliveryReason
    until: datetime
    detail: str | None = None
    behind: int | None = None
    """The line (`senders.queue.lines`)."""


PolicyAnswer = Stop | Delay | None


def not_expired(request: DeliveryRequest) -> PolicyAnswer:
    """Is the command's deadline still ahead?"""
    return Stop(LedgerState.EXPIRED) if request.now >= request.command.expires_at else None


def not_removed(request: DeliveryRequest) -> PolicyAnswer:
    """Was the command decided after its user was removed, if ever?"""
    if request.removed_at is None or request.command.decided_at > request.removed_at:
        return None
    return Stop(LedgerState.SUPPRESSED, SuppressionReason.NO_RECIPIENT)


def not_paused(request: DeliveryRequest) -> PolicyAnswer:
    """Is nothing paused that the command belongs to?"""
    switch = request.switches.binding(request.command, request.address, request.admitted_at, request.now)
    if switch is None:
        return None
    if switch.mode is PauseMode.DISCARD:
        return Stop(LedgerState.SUPPRESSED, SuppressionReason.DISCARDED, label(switch))
    expires_at = request.command.expires_at
    return Delay(DeliveryReason.PAUSED, min(switch.until or expires_at, expires_at), label(switch))


def deliverable(request: DeliveryRequest) -> PolicyAnswer:
    """Is the channel e-mail? Delivery has no other for messages."""
    if request.command.channel == "email":
        return None
    return Stop(LedgerState.FAILED, DeliveryReason.CHANNEL, request.command.channel)


def view_fresh(request: DeliveryRequest) -> PolicyAnswer:
    """Is the recipients view fresh enough for a purpose that needs consent?"""
    now = request.now - request.clock_ahead
    fresh = request.view_as_of is not None and now - request.view_as_of <= request.stale_after
    return None if fresh or not request.needs_consent else _delay(request, DeliveryReason.CONSENT_STALE)


def recipient_known(request: DeliveryRequest) -> PolicyAnswer:
    """Is there an address?"""
    if request.address is not None:
        return None
    return _once_conclusive(request, SuppressionReason.NO_RECIPIENT)


def not_suppressed(request: DeliveryRequest) -> PolicyAnswer:
    """Is the address free of a suppression for this purpose?"""
    if request.suppressed_scopes.isdisjoint({EVERY_PURPOSE, request.command.purpose}):
        return None
    return Stop(LedgerState.SUPPRESSED, SuppressionReason.SUPPRESSED)


def consented(request: DeliveryRequest) -> PolicyAnswer:
    """Does the user consent to this purpose?"""
    if not request.needs_consent or (request.recipient and request.recipient.consents(request.command.purpose)):
        return None
    return _once_conclusive(request, SuppressionReason.NO_CONSENT)


def not_paused_by_user(request: DeliveryRequest) -> PolicyAnswer:
    """Has the user asked for no mail for a time? By the database's clock, as consent is."""
    until = request.recipient.paused_until if request.recipient else None
    if until is None or not request.needs_consent or request.now - request.clock_ahead >= until:
        return None
    return Stop(LedgerState.SUPPRESSED, SuppressionReason.USER_PAUSED)


STAGES: tuple[Callable[[DeliveryRequest], PolicyAnswer], ...] = (
    not_expired,
    not_removed,
    not_paused,
    deliverable,
    view_fresh,
    recipient_known,
    not_suppressed,
    consented,
    not_paused_by_user,
)


WEBHOOK_STAGES = (not_expired, not_removed, not_paused)
"""A webhook is no message to the user: neither an address nor consent is asked for."""


def apply(request: DeliveryRequest) -> PolicyAnswer:
    """The first answer that a stage gives; None if the mail may be made, or the endpoint called."""
    for stage in WEBHOOK_STAGES if request.is_webhook else STAGES:
        answer = stage(request)
        if answer is not None:
            return answer
    return None


def _once_conclusive(request: DeliveryRequest, reason: SuppressionReason) -> PolicyAnswer:
    if request.view_is_conclusive:
        return Stop(LedgerState.SUPPRESSED, reason)
    return _delay(request, DeliveryReason.VIEW_BEHIND)


def _delay(request: DeliveryRequest, reason: DeliveryReason) -> Delay:
    return Delay(reason, min(request.now + ASK_AGAIN, request.command.expires_at))
