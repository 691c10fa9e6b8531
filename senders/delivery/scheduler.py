"""Takes due commands of the held partitions from the ledger, and asks the stages of policy about each.

A command that passes waits on its lane. A command that a stage stops or postpones, or that would wait on its lane for
long, gets its answer.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.watchdog import Watchdog
from schemas.vocabulary import DeliveryReason
from schemas.waiting import event_within
from senders.delivery.answers import AnswerRecorder, unexpected
from senders.delivery.begin_rest import BeginRest
from senders.delivery.lane_intake import LaneIntake
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.pauses import PauseRelease
from senders.delivery.ready_queue import CAPACITY, DeliveryJob, ReadyQueue
from senders.delivery.webhooks.intake import WebhookIntake
from senders.policy import pipeline
from senders.policy.pipeline import Delay, Stop
from senders.policy.recipients import AddressHasher, read_requests
from senders.policy.switches import DeliverySwitches
from senders.queue import leases, ledger, lines, retention
from senders.queue.due_order import WHOLE_S, DueOrder
from senders.queue.ledger import CommandStatus, QueueClass
from senders.queue.ledger_clock import LedgerClock
from senders.queue.lines import LineSearch
from senders.queue.writer import Begin
from senders.settings import SenderSettings

POLL_INTERVAL_S = 0.25
KEEP_INTERVAL_S = 3600.0
URGENT = CAPACITY // 4
"""How many commands are taken at once that overtake those in a full ready queue."""
RETURN_INTERVAL_S = 1.0
READ_AGAIN = timedelta(minutes=1)
"""When a command is read again whose reading by itself took longer than a statement may."""


class Scheduler:
    """One task. `database` is used by this task only."""

    def __init__(
        self,
        settings: SenderSettings,
        *,
        database: AsyncDatabase,
        owner: str,
        ownership: PartitionOwnership,
        ready: ReadyQueue,
        order: DueOrder,
        lanes: LaneIntake,
        webhooks: WebhookIntake,
        switches: DeliverySwitches,
        hasher: AddressHasher,
        answers: AnswerRecorder,
        on_answer: Callable[[], None],
        watchdog: Watchdog,
        clock: LedgerClock,
    ) -> None:
        self._database = database
        self._owner = owner
        self._ownership = ownership
        self._ready = ready
        self._lanes = lanes
        self._webhooks = webhooks
        self._switches = switches
        self._pauses = PauseRelease(database, switches, ownership, clock)
        self._hasher = hasher
        self._answers = answers
        self._on_answer = on_answer
        self._watchdog = watchdog
        self._clock = clock
        self._stale_after = timedelta(seconds=settings.consent_stale_s)
        self._lease = timedelta(seconds=settings.lease_s)
        self._order = order
        self._keep_at_s = self._return_at_s = self._find_lines_at_s = 0.0
        self._line_search = LineSearch()
        self._rest = BeginRest()
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("senders.delivery.scheduler")

    def wake(self) -> None:
        """Look soon: a command may be due, or a partition arriving."""
        self._wake.set()

    def begun(self, begin: Begin) -> None:
        """A mail began, or was refused where it would have begun; then its row says why."""
        self._rest.note(begin, asyncio.get_running_loop().time())
        if begin is Begin.PAUSED:
            self._pauses.again()
        if begin in (Begin.PAUSED, Begin.REFUSED):
            self._wake.set()

    def limits_changed(self) -> None:
        """Other limits are in force: what waits for one is asked again."""
        self._lanes.limits_changed()
        self._webhooks.limits_changed()
        self._wake.set()

    def admitted(self, classes: Mapping[QueueClass, datetime]) -> None:
        """Commands of these classes are new in the queue, each due since then or later."""
        for queue_class, due_at in classes.items():
            self._order.rewind(queue_class, due_at)
        self.wake()

    async def run(self) -> None:
        """Take due commands, until cancelled."""
        while True:
            self._watchdog.beat()
            self._wake.clear()
            if not await self._turn():
                await event_within(self._wake, POLL_INTERVAL_S)

    async def _turn(self) -> bool:
        """Take what is due. Returns whether more may be due."""
        try:
            await self._claim()
            if await self._pauses.release():
                self._lanes.limits_changed()
                self._webhooks.limits_changed()
            await self._keep_partitions()
            await self._return_waiting()
            await self._answers.end_attempts()
            if not self._ownership.held:
                return False
            await self._find_lines()
            of_mails = await self._take_mails()
            return await self._take_webhooks() or of_mails
        except QueryCanceled as error:
            # Our own time-out, and no mail waits for this statement: the next one may be quicker.
            self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
            return False

    async def _claim(self) -> None:
        """Take arriving partitions over in the ledger, then hold them.

        Not before the switches are known: what is paused must not go out meanwhile.
        """
        arriving = self._ownership.arriving
        if not arriving or not self._switches.known:
            return
        await self._database.run(lambda connection: self._take_over(connection, arriving))
        self._ownership.hold(arriving)
        self._order.begin_again()  # of those held before, jobs were dropped, and others may have changed the queue
        self._find_lines_at_s = 0.0
        self._on_answer()

    async def _take_over(self, connection: AsyncConnection[Any], arriving: Collection[int]) -> None:
        await leases.renew(connection, self._owner, self._lease)
        await self._clock.look(connection)
        await leases.take_over(connection, arriving, self._owner)

    async def _keep_partitions(self) -> None:
        """Once an hour, make partitions of the ledger for the days to come, and drop those that are too old."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._keep_at_s:
            return
        self._keep_at_s = now_s + KEEP_INTERVAL_S
        for name, problem in (await self._database.run(retention.keep_partitions)).items():
            if problem is None:
                self._log.info("old_partition_dropped", partition=name)
            else:
                self._log.warning("old_partition_kept", partition=name, problem=problem, next_step="tried in an hour")

    async def _return_waiting(self) -> None:
        """Once a second, let commands wait in the ledger whose lanes will not take them soon."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._return_at_s:
            return
        self._return_at_s = now_s + RETURN_INTERVAL_S
        if answers := [*self._lanes.returned(), *self._webhooks.returned()]:
            await self._answers.record(answers)

    async def _take_mails(self) -> bool:
        """Take the heads of lines that may go on, and what is due. Returns whether more may be there."""
        if not self._ready.low:
            urgent = self._ready.has_urgent_room
            return await self._take(URGENT, above=self._ready.lowest_priority) if urgent else False
        limit = self._rest.limit(self._ready.room, asyncio.get_running_loop().time())
        if not limit:
            return False
        of_lines = await self._take_heads(self._lanes, limit)
        return await self._take(limit) or of_lines

    async def _take_webhooks(self) -> bool:
        """The same for webhooks, however many mails wait. Each endpoint has its own share of the memory."""
        limit = self._rest.limit(CAPACITY, asyncio.get_running_loop().time())
        if not limit:
            return False
        of_lines = await self._take_heads(self._webhooks, limit)
        return await self._take(limit, webhooks=True) or of_lines

    async def _find_lines(self) -> None:
        """Once a minute, look which lines have commands. They are read from their beginning then."""
        held, now_s = self._ownership.held, asyncio.get_running_loop().time()
        if now_s >= self._find_lines_at_s:
            self._find_lines_at_s = now_s + WHOLE_S
            for order in (self._lanes.line_order, self._webhooks.line_order):
                order.begin_again()
            found = await self._database.run(lambda connection: self._line_search.find(connection, held), alone=True)
            self._lanes.lines_found({*found} - self._webhooks.lines_found(found))

    def _in_hand(self) -> list[str]:
        """The commands that are not to be taken again."""
        return [*self._ready.in_hand, *self._webhooks.ready.in_hand, *self._answers.set_aside]

    async def _take_heads(self, intake: LaneIntake | WebhookIntake, limit: int) -> bool:
        held, wanted = self._ownership.held, intake.wanted(limit)
        if not wanted:
            return False
        order, without = intake.line_order, self._in_hand()
        heads = await self._database.run(
            lambda connection: lines.heads(connection, order, held, wanted, without), alone=True
        )
        intake.came(wanted, heads)
        if heads:
            await self._dispatch([status for _, status in heads], self._clock())
            order.read(heads)
        return bool(heads)

    async def _take(self, limit: int, above: int | None = None, *, webhooks: bool = False) -> bool:
        """Take at most `limit` due mails of priorities above this one, or webhooks. Returns whether there is more."""
        held, now_s = self._ownership.held, asyncio.get_running_loop().time()
        if not self._order.is_known(held, now_s):
            self._order.expect(held, now_s)
            classes = await self._database.run(lambda connection: ledger.queue_classes(connection, held), alone=True)
            self._order.begin(classes)
        now, after = self._clock(), self._order.after(above, webhooks=webhooks)
        if not after:
            return False
        without = self._in_hand()
        due = await self._database.run(
            lambda connection: ledger.due_commands(connection, after, without, now, limit), alone=True
        )
        if due:
            await self._dispatch(due, now)
            self._order.read(due)
        return len(due) == limit

    async def _dispatch(self, statuses: Sequence[CommandStatus], now: datetime) -> None:
        """Queue or answer each command. If that fails, try each alone: a command that fails alone gets that answer."""
        try:
            await self._apply_policy(statuses, now)
        except Exception as error:  # noqa: BLE001  # `_prove` raises what is no command's fault
            await self._prove(error, now)
            if len(statuses) > 1:
                for status in statuses:
                    if status.command_id not in self._in_hand():
                        await self._dispatch([status], now)
            elif isinstance(error, QueryCanceled):
                self._log.warning("command_timed_out", command_id=statuses[0].command_id, error=describe(error))
                postponement = Delay(DeliveryReason.DELIVERY_ERROR, now + READ_AGAIN)
                await self._answers.record([(statuses[0], postponement)])
            else:
                await self._answers.record([(statuses[0], unexpected(DeliveryReason.DELIVERY_ERROR, error))])

    async def _prove(self, error: Exception, now: datetime) -> None:
        """Raise `error` if the ledger and the recipients view cannot be read at all."""
        try:
            await self._read([], now)
        except QueryCanceled:
            raise
        except Exception as failure:
            raise error from failure

    async def _apply_policy(self, statuses: Sequence[CommandStatus], now: datetime) -> None:
        answers: list[tuple[CommandStatus, Stop | Delay]] = []
        for job in await self._read(statuses, now):
            intake = self._webhooks if job.request.is_webhook else self._lanes
            answer = pipeline.apply(job.request) or intake.admit(job)
            if answer is not None:
                answers.append((job.due.status, answer))
        if answers:
            await self._answers.record(answers)

    async def _read(self, statuses: Sequence[CommandStatus], now: datetime) -> list[DeliveryJob]:
        """The commands and all that policy asks about them."""

        async def read(connection: AsyncConnection[Any]) -> list[DeliveryJob]:
            due = await ledger.read_commands(connection, statuses)
            requests = await read_requests(connection, due, self._hasher, now, self._stale_after, self._switches)
            return [DeliveryJob(command, request) for command, request in zip(due, requests, strict=True)]

        return await self._database.run(read, pipelined=True, alone=True)
