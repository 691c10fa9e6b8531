"""Which webhooks wait in memory for their endpoint, and which wait in the ledger."""

from datetime import UTC, datetime, timedelta
from typing import Any

from drivers.running_senders import a_command
from drivers.webhook_receiver import SECRET

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from schemas.endpoints import Endpoint
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.channel import SendResult
from senders.content.templates import TemplateCache
from senders.delivery.ready_queue import DeliveryJob, ReadyQueue
from senders.delivery.webhooks.driver import WebhookDriver
from senders.delivery.webhooks.endpoint_health import EndpointHealth
from senders.delivery.webhooks.intake import WebhookIntake
from senders.policy.endpoints import EndpointBook
from senders.policy.pipeline import Delay
from senders.queue.ledger import DueCommand

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
ASKED = timedelta(minutes=1)


class WebhookDesk:
    """An intake whose calls do not begin: its driver does not run."""

    def __init__(self) -> None:
        never: Any = None
        self.now = NOW
        self.book = EndpointBook({"new": SECRET})
        self.health = EndpointHealth(
            AsyncDatabase("", Outage("timescale")), self.book, lambda: self.now, lambda: None, Watchdog()
        )
        self.ready = ReadyQueue()
        self.driver = WebhookDriver(
            ready=self.ready,
            book=self.book,
            health=self.health,
            sender=never,
            taker=never,
            make_channel=never,
            connections=8,
            wake=never,
            called=never,
            watchdog=Watchdog(),
        )
        self.intake = WebhookIntake(
            ready=self.ready,
            driver=self.driver,
            book=self.book,
            health=self.health,
            templates=TemplateCache(),
            publication_wait=timedelta(seconds=1),
            clock=lambda: self.now,
        )
        self.publish()

    def publish(self, **changes: Any) -> None:
        fields = {"url": "https://crm.example/", "secrets": ["new"], "timeout_ms": 2000, "retries": 3}
        self.book.put([Endpoint.model_validate({"name": "crm"} | fields | changes)])

    def rest(self) -> None:
        """The endpoint asks to wait."""
        known = self.book.get("crm")
        assert known is not None
        self.health.answered(known.endpoint, SendResult(LedgerState.DEFERRED, asked=ASKED))


def a_job(partition: int = 0, behind: int | None = None) -> DeliveryJob:
    command = a_command("u1", "", channel="webhook", template="crm", expires_at=NOW + timedelta(days=1))
    request: Any = None  # the intake does not look at it
    return DeliveryJob(DueCommand(command, partition, LedgerState.ADMITTED, 0, NOW, NOW, behind=behind), request)


def admit_again(desk: WebhookDesk, jobs: list[DeliveryJob], line: int | None) -> None:
    for job in jobs:
        job.due = DueCommand(job.due.command, job.due.partition, job.due.state, 0, NOW, NOW, behind=line)
        assert desk.intake.admit(job) is None


async def test_commands_that_came_back_from_their_line_are_returned_to_it_once_more() -> None:
    desk, jobs = WebhookDesk(), [a_job() for _ in range(3)]
    admit_again(desk, jobs, None)

    for _ in range(3):
        desk.rest()
        answers = desk.intake.returned()
        assert sorted(status.command_id for status, _ in answers) == sorted(job.due.command.id for job in jobs)
        assert not desk.ready.in_hand
        desk.now += 2 * ASKED
        admit_again(desk, jobs, answers[0][1].behind)

    assert len(desk.driver.waiting("crm")) == 3


async def test_commands_of_a_partition_that_left_and_came_back_wait_once() -> None:
    desk = WebhookDesk()
    here, gone = a_job(partition=1), a_job(partition=2)
    admit_again(desk, [here, gone], None)

    desk.intake.drop([2])
    assert desk.driver.waiting("crm") == [here]

    admit_again(desk, [gone], None)
    assert len(desk.driver.waiting("crm")) == 2


async def test_commands_in_memory_whose_endpoint_is_removed_wait_in_the_ledger_to_be_asked_again() -> None:
    desk, job = WebhookDesk(), a_job()
    admit_again(desk, [job], None)
    assert desk.intake.returned() == []

    desk.book.put([])

    delay = Delay(DeliveryReason.ENDPOINT_MISSING, NOW + timedelta(seconds=1))
    assert desk.intake.returned() == [(job.due.status, delay)]
    assert not desk.ready.in_hand


async def test_commands_in_memory_whose_endpoint_loses_a_secret_wait_in_the_ledger_for_it() -> None:
    desk, job = WebhookDesk(), a_job()
    admit_again(desk, [job], None)

    desk.publish(secrets=["unknown"])

    detail = "endpoint crm: the secret unknown is missing"
    delay = Delay(DeliveryReason.SECRET_MISSING, NOW + timedelta(minutes=1), detail)
    assert desk.intake.returned() == [(job.due.status, delay)]
    assert not desk.ready.in_hand
    assert desk.intake.admit(job) == delay
