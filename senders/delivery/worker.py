"""The delivery worker: one scheduler, one ready queue and one driver of lanes, with what they share.

The ledger is the queue between processes, the ready queue the one within a process. The scheduler takes due commands
from the ledger and asks policy; the driver decides on which lane each begins, and when.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import run_in_thread, run_together
from infra.service.watchdog import Watchdog
from schemas.commands import SendCommand
from senders.bounces.verp import ReturnPaths
from senders.channels.lane_routes import LaneRoutes
from senders.content.brand_book import BrandBook
from senders.content.mail_builder import MailBuilder
from senders.content.templates import TemplateCache
from senders.delivery.answers import AnswerRecorder
from senders.delivery.attempt_begin import AttemptBegin
from senders.delivery.lane_commands import LaneCommands
from senders.delivery.lane_driver import LaneDriver
from senders.delivery.lane_intake import LaneIntake
from senders.delivery.lane_pace import LanePace
from senders.delivery.lease_keeper import LeaseKeeper
from senders.delivery.mail_observer import MailObserver
from senders.delivery.mail_sender import MailContent, MailSender
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import CAPACITY, DeliveryJob, ReadyQueue
from senders.delivery.scheduler import Scheduler
from senders.delivery.traces import Traces
from senders.delivery.way_holds import WayHolds
from senders.delivery.webhooks.webhooks import SharedParts, WebhookParts, Webhooks
from senders.policy.recipients import AddressHasher
from senders.policy.switches import DeliverySwitches
from senders.queue.due_order import DueOrder
from senders.queue.ledger import QueueClass
from senders.queue.ledger_clock import LedgerClock
from senders.queue.observer import LedgerObserver
from senders.queue.writer import LedgerWriter
from senders.settings import SenderSettings
from senders.shaping.bindings import Binding
from senders.shaping.lane_board import LaneBoard
from senders.shaping.reload import ShapingReload

RELOAD_S = 2.0
"""How often the shaping file is looked at."""
HOLDS_S = 0.5
"""How often lanes hear what people hold."""
SHARES = 16
"""How many lanes can have their whole share of the ready queue."""


@dataclass(frozen=True, slots=True)
class LaneDatabases:
    """The connections of the driver's tasks, each used by one of them only."""

    permits: AsyncDatabase
    leases: AsyncDatabase
    actions: AsyncDatabase


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker is made of. `database` is used by the scheduler only, `lease_database` by the lease keeper only.

    `on_answer` says that an outcome is new.
    """

    database: AsyncDatabase
    lease_database: AsyncDatabase
    lane_databases: LaneDatabases
    writer: LedgerWriter
    routes: LaneRoutes
    relay_outage: Outage
    templates: TemplateCache
    brands: BrandBook
    mail_builder: MailBuilder
    hasher: AddressHasher
    switches: DeliverySwitches
    webhooks: WebhookParts
    owner: str
    on_answer: Callable[[], None]
    watchdog: Watchdog = field(default_factory=Watchdog)
    observer: LedgerObserver = field(default_factory=LedgerObserver)
    trace_database: AsyncDatabase | None = None
    """For lines of conversations that somebody watches; connects only then."""
    mail_observer: MailObserver = field(default_factory=MailObserver)
    reload: ShapingReload | None = None
    """The shaping file, if there is one."""


class DeliveryWorker:
    """All methods belong to the event loop's thread."""

    def __init__(
        self,
        settings: SenderSettings,
        parts: WorkerParts,
        *,
        clock: LedgerClock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._parts = parts
        clock = clock or LedgerClock()
        self._clock = clock
        self._ownership = PartitionOwnership(settings.stop_within_s)
        self._order = DueOrder()
        one_lane = parts.routes.one_lane
        self._ready = ReadyQueue(self._release, CAPACITY if one_lane else SHARES * CAPACITY)
        self._answers = AnswerRecorder(
            settings, parts.writer, parts.on_answer, clock, chance, due_again=self._order.rewind
        )
        self._begin = AttemptBegin(parts.writer, self._answers, lambda made: self._scheduler.begun(made))
        self._webhooks = self._make_webhooks(chance)
        self.pace = LanePace()
        self._traces = Traces(parts.switches, parts.trace_database, parts.owner, parts.watchdog, clock)
        self._driver = self._lane_driver()
        self._holds = WayHolds(parts.switches, self._driver.board, clock)
        self._lanes = LaneIntake(
            self._driver, self._ready, self._from_domain, one_lane=one_lane, holds=self._holds, clock=clock
        )
        self._scheduler = Scheduler(
            settings,
            database=parts.database,
            owner=parts.owner,
            ownership=self._ownership,
            ready=self._ready,
            order=self._order,
            lanes=self._lanes,
            webhooks=self._webhooks.intake,
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
            clock=clock,
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
    def board(self) -> LaneBoard:
        """The lanes, to be looked at."""
        return self._driver.board

    def server_time_us(self) -> int:
        """The clock of the database, which limits and blocks go by."""
        return self._driver.now_us()

    def waits_for(self, command_id: str) -> Binding | None:
        """What a command waits for on its lane; None if it does not wait in this worker's memory."""
        return self._driver.board.binding(command_id) if command_id in self._ready.waiting else None

    def line_waits_for(self, line: int) -> Binding | None:
        """What the commands of a line in the ledger wait for; None if this worker does not let it rest."""
        return self._lanes.rests_for(line)

    def problems(self) -> list[str]:
        """What a person should look at: routes, limits, a shaping file not in force, missing keys, endpoints."""
        parts = self._parts
        refused = None if parts.reload is None else parts.reload.problem
        of_file = [f"the old limits hold: {refused}"] if refused else []
        of_brands = parts.brands.problems(parts.mail_builder.signer, self._clock())
        return [*parts.routes.problems(), *self._driver.problems(), *of_file, *of_brands, *self._webhooks.problems()]

    def suspended_endpoints(self) -> list[str]:
        """The endpoints that get no webhook now."""
        return self._webhooks.suspended()

    def endpoints_changed(self) -> None:
        """Other endpoints are published, or others are suspended."""
        self._webhooks.intake.limits_changed()
        self._scheduler.wake()

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

    def _from_domain(self, command: SendCommand) -> str:
        """The domain that a command's mail comes from: its brand's, or that of the settings."""
        brand = self._parts.brands.get(command.brand) if command.brand else None
        return self._settings.sender.domain if brand is None else brand.sender.domain

    def _release(self, job: DeliveryJob) -> None:
        """A job was let go without an answer: its row is read again where it stands."""
        if job.due.behind is None:
            self._order.rewind(job.due.queue_class, job.due.due_at)
        else:
            self._lanes.let_go(job.due)

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
        self._lanes.drop(partitions)
        self._webhooks.intake.drop(partitions)

    async def stop(self) -> None:
        """Give up all partitions, for good. Waits for mails that have begun, within a bound, and ends the lease."""
        self._lanes.drop(self._ownership.held)
        self._webhooks.intake.drop(self._ownership.held)
        await self._ownership.stop()
        await self._lease_keeper.end()

    async def run(self) -> None:
        """Deliver, until cancelled."""
        tasks = {
            "ledger-writer": self._parts.writer.run(),
            "scheduler": self._scheduler.run(),
            "lease-keeper": self._lease_keeper.run(),
            "lane-driver": self._driver.run(),
            "way-holds": self._follow_holds(),
            "traces": self._traces.run(),
            **{name: run() for name, run in self._webhooks.tasks.items()},
        }
        if self._parts.reload is not None:
            tasks["shaping-reload"] = self._reload(self._parts.reload)
        await run_together(tasks)

    async def _follow_holds(self) -> None:
        """Let people hold sources, sites and providers, until cancelled."""
        while True:
            self._parts.watchdog.beat()
            version = self._driver.board.actions.version
            ended = self._holds.follow()
            if self._driver.board.actions.version != version:
                self._driver.wake()
            if ended:
                self._scheduler.limits_changed()
            await asyncio.sleep(HOLDS_S)

    async def _reload(self, reload: ShapingReload) -> None:
        """Take up changes of the shaping file, until cancelled."""
        while True:
            self._parts.watchdog.beat()
            if (file := await run_in_thread("shaping-reload", reload.changed)) is not None:
                self._parts.routes.reshape(file)
                self._driver.reshape(file)
                self._scheduler.limits_changed()
            await asyncio.sleep(RELOAD_S)

    def _lane_driver(self) -> LaneDriver:
        parts, databases = self._parts, self._parts.lane_databases
        return LaneDriver(
            parts.routes.file,
            owner=parts.owner,
            permits=databases.permits,
            leases=databases.leases,
            actions=databases.actions,
            look_up=parts.routes.look_up,
            find_route=parts.routes.find_route,
            mails=self._lane_commands(),
            shared=not parts.routes.one_lane,
            watchdog=parts.watchdog,
        )

    def _lane_commands(self) -> LaneCommands:
        parts = self._parts
        return LaneCommands(
            self._ready,
            self._mail_sender(),
            self._answers,
            parts.routes,
            parts.relay_outage,
            self._settings.retry_jitter,
            self.wake,
            parts.watchdog,
            self.pace,
            self._traces,
        )

    def _mail_sender(self) -> MailSender:
        parts = self._parts
        return MailSender(
            begin=self._begin,
            ownership=self._ownership,
            content=MailContent(
                parts.templates,
                parts.mail_builder,
                timedelta(seconds=self._settings.template_wait_s),
                ReturnPaths.of(self._settings.bounce_domain, self._settings.bounce_keys),
                parts.brands,
            ),
            hasher=parts.hasher,
            answers=self._answers,
            observer=parts.mail_observer,
            clock=self._clock,
        )

    def _make_webhooks(self, chance: Callable[[], float]) -> Webhooks:
        parts = self._parts
        shared = SharedParts(
            begin=self._begin,
            ownership=self._ownership,
            hasher=parts.hasher,
            answers=self._answers,
            templates=parts.templates,
            observer=parts.mail_observer,
            release=self._release,
            changed=self.endpoints_changed,
            wake=self.wake,
            chance=chance,
            clock=self._clock,
            watchdog=parts.watchdog,
        )
        return Webhooks(self._settings, parts.webhooks, shared)
