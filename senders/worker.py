"""The delivery worker: takes due commands of its partitions from the ledger and sees each through to an answer.

The ledger is the queue. One task takes due commands and asks the stages of `senders.policy.pipeline`; what passes goes
to one of N lanes, each a task with one SMTP connection, which renders, signs, makes `started` durable, delivers and
records. So a crash leaves at most N commands in doubt. Of two workers that hold the same command, the ledger lets one
begin it.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.outages import Outage, backoff_s
from infra.service.tasks import run_together
from infra.service.watchdog import STANDS_STILL_S, Watchdog
from schemas.vocabulary import DeliveryReason, LedgerState
from schemas.waiting import event_within
from senders.channels.channel import Channel, ChannelClient, RealMailRefused, SendResult, Unreachable
from senders.content.mail_builder import MailBuilder
from senders.content.message import message_id
from senders.content.render import TemplateError
from senders.content.templates import TemplateCache
from senders.policy import pipeline
from senders.policy.pipeline import LOOK_AGAIN, Delay, DeliveryRequest, Stop
from senders.policy.recipients import AddressHasher, read_requests
from senders.queue import ledger
from senders.queue.ledger import Due, Position, Start, StateChange
from senders.queue.observer import LedgerObserver
from senders.queue.outbox_relay import OutboxRelay
from senders.queue.retry import next_attempt
from senders.queue.writer import LedgerWriter
from senders.settings import SenderSettings

TAKE = 64
"""Commands taken at once. Their recipients are read then, so more of them means an older answer at the last one."""
LOOK_EVERY_S = 0.25
CROWDED_S = 2.0
"""How long a lane rests that the server had no connection for, while it serves the others."""
DELETE_EVERY_S = 3600.0
DELETE_AT_ONCE = 10_000
READ_AGAIN = timedelta(minutes=1)
"""When a command is looked at again whose reading alone took longer than a statement may."""


@dataclass(slots=True)
class _Job:
    due: Due
    request: DeliveryRequest
    begun: bool = False
    """Whether its row says `started`."""
    handed_over: bool = False
    """Whether the receiver may have the mail."""


def _unforeseen(reason: DeliveryReason, error: Exception) -> Stop:
    """The outcome of a command that raised what nobody foresaw. Says the exception's type, and none of its text."""
    return Stop(LedgerState.FAILED, reason, describe(error))


@dataclass(slots=True)
class _InFlight:
    partition: int
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker works with. `take_database` is used by the taking task alone."""

    take_database: AsyncDatabase
    writer: LedgerWriter
    channel: Channel
    relay_outage: Outage
    templates: TemplateCache
    mail_builder: MailBuilder
    hasher: AddressHasher
    owner: str
    watchdog: Watchdog = field(default_factory=Watchdog)
    observer: LedgerObserver = field(default_factory=LedgerObserver)


class DeliveryWorker:
    """One delivery worker. All methods belong to the event loop's thread."""

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
        self._chance = chance
        self._log = structlog.get_logger("senders.worker")
        self._held: set[int] = set()
        self._arriving: set[int] = set()
        self._in_hand: set[str] = set()
        self._set_aside: set[str] = set()
        """Commands whose row in the ledger cannot be written; left alone until another process takes them up."""
        self._delete_at_s = 0.0
        self._in_flight: dict[str, _InFlight] = {}
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._stopped = False
        self._wake = asyncio.Event()
        self._clients: set[ChannelClient] = set()
        self._relay_up = asyncio.Event()
        self._relay_up.set()
        self.outbox_relay: OutboxRelay | None = None

    @property
    def held(self) -> Collection[int]:
        """The partitions whose commands this worker sends."""
        return frozenset(self._held)

    @property
    def arriving(self) -> Collection[int]:
        """The partitions that this worker is about to hold."""
        return frozenset(self._arriving)

    @property
    def in_flight(self) -> int:
        """How many mail transactions run now."""
        return len(self._in_flight)

    def wake(self) -> None:
        """There may be something to take."""
        self._wake.set()

    def take_over(self, partitions: Collection[int]) -> None:
        """These partitions are ours from now on. What a lost worker began there is put in doubt first."""
        if not self._stopped:
            self._arriving.update(partitions)
            self._wake.set()

    async def give_up(self, partitions: Collection[int]) -> None:
        """Begin nothing more of these partitions, and wait until what is on its way has its answer, within a bound."""
        self._held.difference_update(partitions)
        self._arriving.difference_update(partitions)
        if self._stopped:
            return  # all was waited for already, as long as stopping may take
        mails = [mail for mail in self._in_flight.values() if mail.partition in partitions]
        try:
            async with asyncio.timeout(self._settings.stop_within_s):
                for mail in mails:
                    await mail.done.wait()
        except TimeoutError:
            left = sum(not mail.done.is_set() for mail in mails)
            self._log.warning("mail_still_in_flight", count=left, next_step="the next owner finds it in doubt")

    async def stop(self) -> None:
        """Give everything up, for good."""
        await self.give_up(self._held | self._arriving)
        self._stopped = True

    async def run(self) -> None:
        """Deliver, for ever."""
        parts = {"ledger-writer": self._parts.writer.run(), "taker": self._take_for_ever()}
        lanes = {f"lane-{number}": self._lane() for number in range(self._settings.connections)}
        await run_together(parts | lanes)

    # taking

    async def _take_for_ever(self) -> None:
        while True:
            self._parts.watchdog.beat()
            self._wake.clear()
            if not await self._turn():
                await event_within(self._wake, LOOK_EVERY_S)

    async def _turn(self) -> bool:
        """Take what is due. Returns whether there may be more."""
        try:
            await self._claim()
            await self._delete_old()
            room = TAKE - self._jobs.qsize()
            if room < TAKE // 2 or not self._held or not self._relay_up.is_set():
                return False
            return await self._take(room) == room
        except QueryCanceled as error:
            # Our own time-out, of a statement that waits for nobody: the next one may be quicker.
            self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
            return False

    async def _claim(self) -> None:
        """Put in doubt what others began in arriving partitions, then hold these."""
        arriving = frozenset(self._arriving)
        if not arriving:
            return
        resend = [purpose for purpose, policy in self._settings.in_doubt.items() if policy == "resend"]
        doubted = await self._parts.take_database.run(
            lambda connection: ledger.doubt(connection, arriving, self._parts.owner, resend, self._clock())
        )
        if doubted:
            self._parts.observer.lost(doubted)
            self._log.warning("in_doubt", count=doubted, reason=DeliveryReason.WORKER_LOST.value)
        ours = arriving & self._arriving
        self._arriving -= ours
        self._held |= ours
        self._wake_outbox_relay()

    async def _delete_old(self) -> None:
        """Once an hour, remove what is old; in pieces, for each of which mail waits."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._delete_at_s:
            return
        before = self._clock() - ledger.KEPT
        self._delete_at_s = now_s + DELETE_EVERY_S
        forgotten = await self._parts.take_database.run(
            lambda connection: ledger.forget(connection, before, DELETE_AT_ONCE)
        )
        if forgotten == DELETE_AT_ONCE:
            self._delete_at_s = now_s
        if forgotten:
            self._log.info("old_commands_deleted", count=forgotten, before=before.isoformat())

    async def _take(self, room: int) -> int:
        """Take due commands, answer those that the stages stop, and hand the rest to the lanes."""
        now = self._clock()
        held, away = sorted(self._held), [*self._in_hand, *self._set_aside]
        due = await self._parts.take_database.run(lambda connection: ledger.due(connection, held, away, now, room))
        if not due:
            return 0
        await self._hand_out(due, now)
        return len(due)

    async def _hand_out(self, positions: Sequence[Position], now: datetime) -> None:
        """Bring due commands to the lanes or to their answer. One fails if it alone cannot be."""
        try:
            await self._judge(positions, now)
        except Exception as error:  # noqa: BLE001  # `_prove` raises what is no command's fault
            await self._prove(error, now)
            if len(positions) > 1:
                for position in positions:
                    if position.command_id not in self._in_hand:
                        await self._hand_out([position], now)
            elif isinstance(error, QueryCanceled):
                await self._record([(positions[0], Delay(DeliveryReason.DELIVERY_ERROR, now + READ_AGAIN))])
            else:
                await self._record([(positions[0], _unforeseen(DeliveryReason.DELIVERY_ERROR, error))])

    async def _prove(self, error: Exception, now: datetime) -> None:
        """Raise `error` where the ledger and the view cannot be read, whatever is asked."""
        try:
            await self._read([], now)
        except QueryCanceled:
            raise
        except Exception as failure:
            raise error from failure

    async def _judge(self, positions: Sequence[Position], now: datetime) -> None:
        rests: list[tuple[Position, Stop | Delay]] = []
        for job in await self._read(positions, now):
            answer = pipeline.judge(job.request)
            if answer is None:
                self._hand_over(job)
            else:
                rests.append((job.due.position, answer))
        if rests:
            await self._record(rests)

    def _hand_over(self, job: _Job) -> None:
        self._in_hand.add(job.due.command.id)
        try:
            self._jobs.put_nowait(job)
        except BaseException:
            self._in_hand.discard(job.due.command.id)
            raise

    async def _read(self, positions: Sequence[Position], now: datetime) -> list[_Job]:
        """What is known of due commands."""
        stale_after = timedelta(seconds=self._settings.consent_stale_s)

        async def read(connection: AsyncConnection[Any]) -> list[_Job]:
            dues = await ledger.read_due(connection, positions)
            requests = await read_requests(connection, dues, self._parts.hasher, now, stale_after)
            return [_Job(due, request) for due, request in zip(dues, requests, strict=True)]

        return await self._parts.take_database.run(read)

    async def _record(self, rests: Collection[tuple[Position, Stop | Delay]]) -> None:
        """Write down what gets no mail now; one by one where that fails, and leave alone what fails alone."""
        try:
            await self._write_down(rests)
        except Exception as error:  # noqa: BLE001  # told apart by trying each alone
            if len(rests) == 1:
                [(position, _)] = rests
                self._put_aside(position.command_id, error)
                return
            for rest in rests:
                await self._record([rest])

    def _put_aside(self, command_id: str, error: Exception) -> None:
        """Leave a command alone whose answer cannot be written; the next process takes it up again."""
        self._log.error("command_set_aside", command_id=command_id, error=describe(error))
        self._set_aside.add(command_id)

    async def _write_down(self, rests: Collection[tuple[Position, Stop | Delay]]) -> None:
        """What is in doubt stays so: it may have been sent."""
        now = self._clock()
        settled, postponed = [], []
        for at, answer in rests:
            if isinstance(answer, Delay):
                postponed.append(
                    StateChange(
                        at.command_id, at.attempt, LedgerState(at.state), now, answer.reason, None, answer.until
                    )
                )
            elif at.state == LedgerState.IN_DOUBT:
                reason = answer.reason or answer.state
                postponed.append(
                    StateChange(at.command_id, at.attempt, LedgerState(at.state), now, reason, answer.detail)
                )
            else:
                settled.append(StateChange(at.command_id, at.attempt, answer.state, now, answer.reason, answer.detail))
        self._set_aside |= await self._parts.writer.settle(settled)
        self._set_aside |= await self._parts.writer.postpone(postponed)
        if settled:
            self._wake_outbox_relay()

    # delivering

    async def _lane(self) -> None:
        client = self._parts.channel.client()
        self._clients.add(client)
        try:
            while True:
                with self._parts.watchdog.rest():
                    job = await self._jobs.get()
                self._parts.watchdog.beat(self._parts.channel.longest_send_s + STANDS_STILL_S)
                if self._jobs.qsize() <= TAKE // 2:
                    self._wake.set()
                await self._work(job, client)
        finally:
            await client.close()

    async def _work(self, job: _Job, client: ChannelClient) -> None:
        """Bring one command to its answer, whatever it raises."""
        failure = None
        try:
            await self._deliver(job, client)
        except Unreachable as error:
            failure = error
        except RealMailRefused:
            raise
        except Exception as error:  # noqa: BLE001  # one mail's error is that mail's outcome
            await client.close()
            try:
                await self._fail(job, error)
            except Exception as again:  # noqa: BLE001
                self._put_aside(job.due.command.id, again)
        finally:
            self._in_hand.discard(job.due.command.id)
        if failure is not None:
            with self._parts.watchdog.rest():
                await self._wait_for_relay(failure)

    async def _fail(self, job: _Job, error: Exception) -> None:
        """Write down that a mail raised what nobody foresaw: it failed, or is in doubt where it was handed over."""
        stop = _unforeseen(DeliveryReason.DELIVERY_ERROR, error)
        command_id = job.due.command.id
        self._log.error("mail_failed", command_id=command_id, state=stop.state.value, error=stop.detail)
        if not job.begun:
            await self._record([(job.due.position, stop)])
            return
        state = LedgerState.IN_DOUBT if job.handed_over else stop.state
        change = StateChange(command_id, job.due.attempt + 1, state, self._clock(), stop.reason, stop.detail)
        await self._parts.writer.answer(change)  # refused too, its row says `started`: the next owner finds it in doubt
        self._wake_outbox_relay()

    async def _deliver(self, job: _Job, client: ChannelClient) -> None:
        """Make the mail, make sure that it can go, and send it.

        Raises Unreachable where nothing of it was taken: the command stays as it was, and no attempt is counted.
        """
        if job.due.partition not in self._held or not self._relay_up.is_set():
            return
        address = job.request.address
        assert address is not None, "the stages let only requests with an address pass"
        message = await self._make(job, address)
        if message is None:
            return
        await client.connect()
        if job.due.partition in self._held:
            await self._send(job, address, message, client)

    async def _make(self, job: _Job, address: str) -> bytes | None:
        """The signed mail; None where there is none, which is then written down."""
        command, now = job.due.command, self._clock()
        rest: Stop | Delay
        try:
            template = self._parts.templates.get(command.template_hash)
            if template is not None:
                return self._parts.mail_builder.build(command, address, job.request.recipient, template, now)
            waited = self._parts.templates.waited(job.due.admitted_at, now)
            if waited < timedelta(seconds=self._settings.template_wait_s):
                rest = Delay(DeliveryReason.TEMPLATE_MISSING, min(now + LOOK_AGAIN, command.expires_at))
            else:
                rest = Stop(LedgerState.FAILED, DeliveryReason.TEMPLATE_MISSING, command.template)
        except TemplateError as problem:
            rest = Stop(LedgerState.FAILED, problem.reason, problem.detail)
        except Exception as error:  # noqa: BLE001  # templates and profiles are not ours: this mail's fault
            rest = _unforeseen(DeliveryReason.RENDER_ERROR, error)
        await self._record([(job.due.position, rest)])
        return None

    async def _wait_for_relay(self, error: Unreachable) -> None:
        """Hold this lane back. The first lane to find the server gone tries for all until it answers again.

        While other connections live, the server only wants fewer of them. Otherwise all taking stops: what is not
        begun is let go, and asked anew when the server is back.
        """
        if any(client.connected for client in self._clients):
            await asyncio.sleep(CROWDED_S)
            return
        self._parts.relay_outage.away(error)
        if not self._relay_up.is_set():
            await self._relay_up.wait()
            return
        self._relay_up.clear()
        for wait_s in backoff_s():
            await asyncio.sleep(wait_s)
            with contextlib.suppress(Unreachable):
                trial = self._parts.channel.client()
                await trial.connect()
                await trial.close()
                break
        self._parts.relay_outage.back()
        self._relay_up.set()
        self._wake.set()

    async def _send(self, job: _Job, address: str, message: bytes, client: ChannelClient) -> None:
        """`started`, the mail transaction, and its answer. Between the first and the last, a crash means doubt.

        Where the server ends every connection before it takes the mail and then accepts no other, the attempt is
        taken back: the command is as it was before, and due.
        """
        command, builder = job.due.command, self._parts.mail_builder
        start = Start(
            due=job.due,
            message_id=message_id(command.id, builder.signer.domain),
            address_hash=self._parts.hasher(address),
            at=self._clock(),
        )
        mail = self._in_flight[command.id] = _InFlight(job.due.partition)
        try:
            if not await self._parts.writer.begin(start):
                self._log.info("attempt_begun_elsewhere", command_id=command.id)
                return
            job.begun = True
            try:
                verdict = await client.send(builder.sender.address, address, message)
            except (Unreachable, RealMailRefused):
                await self._parts.writer.take_back(self._as_before(job, start))
                raise
            finally:
                job.handed_over = client.handed_over
            if not await self._parts.writer.answer(self._answer(command.id, start.attempt, job, verdict)):
                self._log.warning("answer_too_late", command_id=command.id, state=verdict.state.value)
            self._wake_outbox_relay()
        finally:
            del self._in_flight[command.id]
            mail.done.set()

    def _as_before(self, job: _Job, start: Start) -> StateChange:
        now = self._clock()
        return StateChange(job.due.command.id, start.attempt, job.due.state, now, next_attempt_at=now)

    def _answer(self, command_id: str, attempt: int, job: _Job, verdict: SendResult) -> StateChange:
        command, now = job.due.command, self._clock()
        again = verdict.state is LedgerState.DEFERRED or (
            verdict.state is LedgerState.IN_DOUBT and self._settings.policy(command.purpose) == "resend"
        )
        return StateChange(
            command_id=command_id,
            attempt=attempt,
            state=verdict.state,
            at=now,
            reason=verdict.reason,
            next_attempt_at=self._next(attempt, now, command.expires_at) if again else None,
            reply=verdict.reply,
            hard=verdict.hard_bounce,
        )

    def _next(self, attempt: int, now: datetime, expires_at: datetime) -> datetime:
        settings = self._settings
        return next_attempt(attempt, now, expires_at, settings.retry_schedule_s, settings.retry_jitter, self._chance())

    def _wake_outbox_relay(self) -> None:
        if self.outbox_relay is not None:
            self.outbox_relay.wake()
