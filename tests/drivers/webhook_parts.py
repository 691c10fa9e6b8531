"""The webhooks of a worker that a test puts together by itself."""

import random
from collections.abc import Callable
from datetime import UTC, datetime

from infra.postgres.database import AsyncDatabase
from infra.service.watchdog import Watchdog
from senders.content.templates import TemplateCache
from senders.delivery.answers import AnswerRecorder
from senders.delivery.attempt_begin import AttemptBegin
from senders.delivery.mail_observer import MailObserver
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.webhooks.webhooks import SharedParts, WebhookParts, Webhooks
from senders.policy.endpoints import EndpointBook
from senders.policy.recipients import AddressHasher
from senders.queue.due_order import DueOrder
from senders.queue.ledger_clock import LedgerClock
from senders.queue.writer import LedgerWriter
from senders.settings import SenderSettings


def _complete() -> TemplateCache:
    """Everything that is published has been read."""
    cache = TemplateCache()
    cache.complete(datetime(2026, 1, 1, tzinfo=UTC))
    return cache


def webhooks(
    settings: SenderSettings,
    database: AsyncDatabase,
    *,
    writer: LedgerWriter,
    answers: AnswerRecorder,
    ownership: PartitionOwnership,
    hasher: AddressHasher,
    order: DueOrder,
    book: EndpointBook | None = None,
    changed: Callable[[], None] = lambda: None,
) -> Webhooks:
    """Webhooks with the parts of a test. Without a book, no endpoint is published."""
    shared = SharedParts(
        begin=AttemptBegin(writer, answers, lambda _: None),
        ownership=ownership,
        hasher=hasher,
        answers=answers,
        templates=_complete(),
        observer=MailObserver(),
        release=lambda job: order.rewind(job.due.queue_class, job.due.due_at),
        changed=changed,
        wake=lambda: None,
        chance=random.random,
        clock=LedgerClock(),
        watchdog=Watchdog(),
    )
    parts = WebhookParts(EndpointBook() if book is None else book, database, database)
    return Webhooks(settings, parts, shared)
