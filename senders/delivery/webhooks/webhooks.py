"""The part of a worker that sends webhooks, put together."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.postgres.database import AsyncDatabase
from infra.service.watchdog import Watchdog
from schemas.endpoints import Endpoint
from senders.channels.channel import SendResult
from senders.channels.http.channel import CallSettings, WebhookChannel
from senders.channels.http.destinations import Destinations
from senders.content.templates import TemplateCache
from senders.delivery.answers import AnswerRecorder
from senders.delivery.attempt_begin import AttemptBegin
from senders.delivery.mail_observer import MailObserver
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import DeliveryJob, ReadyQueue
from senders.delivery.webhooks.driver import WebhookDriver
from senders.delivery.webhooks.endpoint_health import EndpointHealth
from senders.delivery.webhooks.intake import WebhookIntake
from senders.delivery.webhooks.sender import WebhookSender
from senders.policy.endpoints import EndpointBook
from senders.policy.recipients import AddressHasher
from senders.queue.retry import RetryPolicy
from senders.settings import SenderSettings
from senders.shaping.permit_taker import PermitTaker


@dataclass(frozen=True, slots=True)
class WebhookParts:
    """What webhooks need of their own. Each database is used by one task only."""

    book: EndpointBook
    permits: AsyncDatabase
    suspensions: AsyncDatabase


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What webhooks have in common with the mails of their worker."""

    begin: AttemptBegin
    ownership: PartitionOwnership
    hasher: AddressHasher
    answers: AnswerRecorder
    templates: TemplateCache
    observer: MailObserver
    release: Callable[[DeliveryJob], None]
    """Called with a job that was let go without an answer and stands in no line."""
    changed: Callable[[], None]
    """Called when what waits in lines may go on."""
    wake: Callable[[], None]
    """Called when there is room for more."""
    chance: Callable[[], float]
    clock: Callable[[], datetime]
    watchdog: Watchdog


class Webhooks:
    """All methods belong to the event loop's thread."""

    def __init__(self, settings: SenderSettings, parts: WebhookParts, shared: SharedParts) -> None:
        self._settings = settings
        self._shared = shared
        self._book = parts.book
        self._destinations = Destinations(frozenset(settings.webhook_private_hosts), settings.allow_real_mail)
        ready = ReadyQueue(self._released)
        self._health = EndpointHealth(parts.suspensions, parts.book, shared.clock, shared.changed, shared.watchdog)
        self._taker = PermitTaker(parts.permits)
        self._driver = WebhookDriver(
            ready=ready,
            book=parts.book,
            health=self._health,
            sender=_sender(settings, shared),
            taker=self._taker,
            make_channel=self._channel,
            connections=settings.webhook_connections,
            wake=shared.wake,
            called=self._called,
            watchdog=shared.watchdog,
        )
        self.intake = WebhookIntake(
            ready=ready,
            driver=self._driver,
            book=parts.book,
            health=self._health,
            templates=shared.templates,
            publication_wait=timedelta(seconds=settings.template_wait_s),
            clock=shared.clock,
        )
        self.tasks = {"webhook-driver": self._driver.run, "endpoint-health": self._health.run}
        """What runs until it is cancelled."""

    def problems(self) -> list[str]:
        """What a person should look at."""
        return [*self._book.problems(), *self._health.problems(), *self._taker.problems()]

    def suspended(self) -> list[str]:
        """The endpoints that get no webhook now, as long as they are published."""
        return [each.endpoint for each in self._health.suspended()]

    def _released(self, job: DeliveryJob) -> None:
        """A job was let go without an answer: its row is read again where it stands."""
        if job.due.behind is None:
            self._shared.release(job)
        else:
            self.intake.let_go(job.due)

    def _called(self, endpoint: Endpoint, result: SendResult) -> None:
        self._shared.observer.called(endpoint.name, result.state)

    def _channel(self, call: CallSettings) -> WebhookChannel:
        return WebhookChannel(call, self._destinations, self._settings.webhook_connections, self._shared.clock)


def _sender(settings: SenderSettings, shared: SharedParts) -> WebhookSender:
    first, longest = settings.webhook_retry_first_s, settings.webhook_retry_longest_s
    return WebhookSender(
        begin=shared.begin,
        ownership=shared.ownership,
        hasher=shared.hasher,
        answers=shared.answers,
        retry=RetryPolicy(timedelta(seconds=first), timedelta(seconds=longest), settings.retry_jitter),
        chance=shared.chance,
        clock=shared.clock,
    )
