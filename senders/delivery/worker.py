"""The delivery worker: one scheduler, one ready queue and N lanes, with what they share.

The ledger is the queue between processes, the ready queue the one within a process. The scheduler takes due commands
from the ledger and asks policy; the lanes send. There is one channel and one kind of lane. Another channel adds its
`ChannelAvailability` and its lanes here.
"""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import run_together
from infra.service.watchdog import Watchdog
from senders.bounces.verp import ReturnPaths
from senders.channels.channel import Channel
from senders.content.mail_builder import MailBuilder
from senders.content.templates import TemplateCache
from senders.delivery.answers import AnswerRecorder
from senders.delivery.availability import ChannelAvailability
from senders.delivery.lane import Lane, MailContent
from senders.delivery.lease_keeper import LeaseKeeper
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import DeliveryJob, ReadyQueue
from senders.delivery.scheduler import Scheduler
from senders.policy.recipients import AddressHasher
from senders.policy.switches import DeliverySwitches
from senders.queue.due_order import DueOrder
from senders.queue.ledger import QueueClass
from senders.queue.observer import LedgerObserver
from senders.queue.writer import LedgerWriter
from senders.settings import SenderSettings


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker is made of. `database` is used by the scheduler only, `lease_database` by the lease keeper only.

    `on_answer` says that an outcome is new.
    """

    database: AsyncDatabase
    lease_database: AsyncDatabase
    writer: LedgerWriter
    channel: Channel
    channel_outage: Outage
    templates: TemplateCache
    mail_builder: MailBuilder
    hasher: AddressHasher
    switches: DeliverySwitches
    owner: str
    on_answer: Callable[[], None]
    watchdog: Watchdog = field(default_factory=Watchdog)
    observer: LedgerObserver = field(default_factory=LedgerObserver)


class DeliveryWorker:
    """All methods belong to the event loop's thread."""

    def __init__(
        self,
        settings: SenderSettings,
        parts: WorkerParts,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._clock = clock
        self._ownership = PartitionOwnership(settings.stop_within_s)
        self._order = DueOrder()
        self._ready = ReadyQueue(self._release)
        self._answers = AnswerRecorder(settings, parts.writer, parts.on_answer, clock, chance)
        self._availability = ChannelAvailability(parts.channel, parts.channel_outage, self.wake)
        self._scheduler = Scheduler(
            settings,
            database=parts.database,
            owner=parts.owner,
            ownership=self._ownership,
            ready=self._ready,
            order=self._order,
            availability=self._availability,
            switches=parts.switches,
            hasher=parts.hasher,
            answers=self._answers,
            on_answer=parts.on_answer,
            watchdog=parts.watchdog,
            clock=clock,
        )
        self._lease_keeper = LeaseKeeper(
            settings,
            database=parts.lease_database,
            owner=parts.owner,
            ownership=self._ownership,
            on_doubt=self._doubted,
            observer=parts.observer,
            watchdog=parts.watchdog,
        )

    @property
    def held(self) -> frozenset[int]:
        """The partitions whose commands this worker sends."""
        return self._ownership.held

    @property
    def arriving(self) -> frozenset[int]:
        """The assigned partitions that this worker does not hold yet."""
        return self._ownership.arriving

    @property
    def in_flight(self) -> int:
        """How many mail transactions are open."""
        return self._ownership.open_transactions

    def wake(self) -> None:
        """A command may be due."""
        self._scheduler.wake()

    def admitted(self, classes: Mapping[QueueClass, datetime]) -> None:
        """Commands of these classes are new, each due since then or later."""
        self._scheduler.admitted(classes)

    def _release(self, job: DeliveryJob) -> None:
        self._order.rewind(job.due.queue_class, job.due.due_at)

    def _doubted(self) -> None:
        self._order.begin_again()
        self._scheduler.wake()
        self._parts.on_answer()

    def take_over(self, partitions: Collection[int]) -> None:
        """Own these partitions from now on."""
        self._ownership.assign(partitions)
        self._scheduler.wake()

    def give_up(self, partitions: Collection[int]) -> None:
        """Begin nothing more in these partitions. Mails that have begun there are ended here, under this lease."""
        self._ownership.give_up(partitions)

    async def stop(self) -> None:
        """Give up all partitions, for good. Waits for mails that have begun, within a bound, and ends the lease."""
        await self._ownership.stop()
        await self._lease_keeper.end()

    async def run(self) -> None:
        """Deliver, until cancelled."""
        tasks = {"ledger-writer": self._parts.writer.run(), "scheduler": self._scheduler.run()}
        tasks["lease-keeper"] = self._lease_keeper.run()
        lanes = {f"lane-{number}": self._lane().run() for number in range(self._settings.connections)}
        await run_together(tasks | lanes)

    def _lane(self) -> Lane:
        parts = self._parts
        return Lane(
            ready=self._ready,
            wake_scheduler=self.wake,
            begun=self._scheduler.begun,
            availability=self._availability,
            longest_send_s=parts.channel.longest_send_s,
            ownership=self._ownership,
            content=MailContent(
                parts.templates,
                parts.mail_builder,
                timedelta(seconds=self._settings.template_wait_s),
                ReturnPaths.of(self._settings.bounce_domain, self._settings.bounce_keys),
            ),
            hasher=parts.hasher,
            writer=parts.writer,
            answers=self._answers,
            watchdog=parts.watchdog,
            clock=self._clock,
        )
