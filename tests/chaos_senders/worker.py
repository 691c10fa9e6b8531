"""A real delivery worker of a chaos run, of the slot that the arguments name, with the settings of the environment.

For the controls it can have a fault (CHAOS_FAULT), which the run must report.
"""

import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import senders.app
from infra.service.health import WorkerIdentity
from schemas.outcomes import Reply
from schemas.vocabulary import LedgerState
from senders.channels.channel import SendResult
from senders.channels.http.channel import WebhookClient
from senders.channels.smtp.channel import SmtpClient
from senders.queue import leases, outbox, suspensions, transitions
from senders.queue.outbox import OutboxRow
from senders.queue.transitions import AttemptStart
from senders.settings import SenderSettings

SHARE = 0.03
"""Of mails, webhooks and outcomes that a fault takes."""
SUSPENDED = timedelta(seconds=2), timedelta(seconds=8)
"""How long an endpoint is suspended at first and at most. The real times are longer than a run lasts."""


def mark_unsent_mails_accepted() -> None:
    """Some mails are accepted that were never sent."""
    real = SmtpClient.send

    async def send(client: SmtpClient, mail_from: str, to: str, message: bytes) -> SendResult:
        if random.random() < SHARE:
            return SendResult(LedgerState.ACCEPTED, reply=Reply(code=250, text="kept"))
        return await real(client, mail_from, to, message)

    SmtpClient.send = send  # type: ignore[method-assign]


def call_endpoints_again_untold() -> None:
    """Some attempts of webhooks are two requests."""
    real = WebhookClient.send

    async def send(client: WebhookClient, mail_from: str, to: str, message: bytes) -> SendResult:
        if random.random() < SHARE:
            await real(client, mail_from, to, message)
        return await real(client, mail_from, to, message)

    WebhookClient.send = send  # type: ignore[method-assign]


def begin_what_others_own() -> None:
    """Mails begin whatever the ledger says about owner, epoch, lease and attempt."""
    real = transitions.send_begin

    async def all_of(starts: Sequence[AttemptStart]) -> AsyncIterator[tuple[UUID]]:
        for start in starts:
            yield (UUID(start.due.command.id),)

    async def begin(connection: Any, starts: Sequence[AttemptStart], owner: str) -> AsyncIterator[tuple[UUID]]:
        await real(connection, starts, owner)
        return all_of(starts)

    transitions.send_begin = begin  # type: ignore[assignment]


def leave_lost_mails_started() -> None:
    """Nobody puts in doubt what lost workers began."""

    async def none(*_: object) -> None:
        return None

    leases.lost_workers = none  # type: ignore[assignment]


def lose_outcomes() -> None:
    """Some outcomes leave the outbox without being published."""
    real = outbox.unpublished_rows

    async def unpublished(connection: Any, partitions: Collection[int], *more: Any) -> list[OutboxRow]:
        rows = await real(connection, partitions, *more)
        lost = [row for row in rows if random.random() < SHARE]
        await outbox.mark_published(connection, [row.message() for row in lost])
        return [row for row in rows if row not in lost]

    outbox.unpublished_rows = unpublished  # type: ignore[assignment]


FAULTS: Mapping[str, tuple[Callable[[], None], str]] = {
    "unsent": (mark_unsent_mails_accepted, ""),
    "untold": (call_endpoints_again_untold, ""),
    "unfenced": (begin_what_others_own, "freeze"),
    "stuck": (leave_lost_mails_started, "kill"),
    "unpublished": (lose_outcomes, ""),
}
"""Each fault, and the trouble that shows it; none if it shows by itself."""


def main() -> None:
    """The worker."""
    if fault := os.environ.get("CHAOS_FAULT"):
        FAULTS[fault][0]()
    suspensions.FIRST, suspensions.LONGEST = SUSPENDED
    settings, slot = SenderSettings(), int(sys.argv[1])
    senders.app.main(settings, WorkerIdentity(slot, 0, settings.senders_web_port + slot))
