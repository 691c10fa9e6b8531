"""A lane: one client of a channel, which sends one mail at a time.

So a crash leaves at most one command in doubt for each lane. Of two workers that hold the same command, the ledger lets
one begin it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from infra.service.watchdog import STALLED_AFTER_S, Watchdog
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.bounces.verp import ReturnPaths
from senders.channels.channel import ChannelClient, RealMailRefused, Unreachable
from senders.content.mail_builder import MailBuilder
from senders.content.render import TemplateError
from senders.content.templates import TemplateCache
from senders.delivery.answers import AnswerRecorder, unexpected
from senders.delivery.availability import ChannelAvailability
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import DeliveryJob, ReadyQueue
from senders.policy.pipeline import ASK_AGAIN, Delay, Stop
from senders.policy.recipients import AddressHasher
from senders.queue.transitions import AttemptStart
from senders.queue.writer import Begin, LedgerWriter


@dataclass(frozen=True, slots=True)
class MailContent:
    """What a lane makes mails from."""

    templates: TemplateCache
    builder: MailBuilder
    template_wait: timedelta
    """How long a command waits for a template that is not there."""
    return_paths: ReturnPaths | None = None

    def return_path(self, command_id: str) -> str:
        """Where a mail that cannot be delivered is returned to."""
        signed = self.return_paths and self.return_paths.address(command_id)
        return signed or self.builder.sender.address


class Lane:
    """Takes jobs from a ready queue and brings each to its answer: render, sign, `started`, send, record."""

    def __init__(
        self,
        *,
        ready: ReadyQueue,
        wake_scheduler: Callable[[], None],
        begun: Callable[[Begin], None],
        availability: ChannelAvailability,
        longest_send_s: float,
        ownership: PartitionOwnership,
        content: MailContent,
        hasher: AddressHasher,
        writer: LedgerWriter,
        answers: AnswerRecorder,
        watchdog: Watchdog,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ready = ready
        self._wake_scheduler = wake_scheduler
        self._begun = begun
        self._availability = availability
        self._beat_s = longest_send_s + STALLED_AFTER_S
        self._ownership = ownership
        self._content = content
        self._hasher = hasher
        self._writer = writer
        self._answers = answers
        self._watchdog = watchdog
        self._clock = clock
        self._log = structlog.get_logger("senders.delivery.lane")

    async def run(self) -> None:
        """Send, until cancelled."""
        client = self._availability.client()
        try:
            while True:
                with self._watchdog.rest():
                    job = await self._ready.get()
                self._watchdog.beat(self._beat_s)
                if self._ready.low:
                    self._wake_scheduler()
                await self._work(job, client)
        finally:
            await client.close()

    async def _work(self, job: DeliveryJob, client: ChannelClient) -> None:
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
                await self._answers.failed(job, error)
            except Exception as again:  # noqa: BLE001
                self._answers.set_command_aside(job.due.command.id, again)
        finally:
            self._ready.done(job)
        if failure is not None:
            with self._watchdog.rest():
                await self._availability.wait(failure)

    async def _deliver(self, job: DeliveryJob, client: ChannelClient) -> None:
        """Make the mail, connect and send.

        Raises Unreachable where the server took nothing of it: the command stays as it was, and no attempt is counted.
        """
        if job.due.partition not in self._ownership.held or not self._availability.up:
            return
        address = job.request.address
        assert address is not None, "policy lets no command pass without an address"
        message = await self._build(job, address)
        if message is None:
            return
        await client.connect()
        if job.due.partition in self._ownership.held:
            with self._ownership.transaction():
                await self._send(job, address, message, client)

    async def _build(self, job: DeliveryJob, address: str) -> bytes | None:
        """The signed mail. None if it cannot be made: then the command has its answer."""
        command, now = job.due.command, self._clock()
        answer: Stop | Delay
        try:
            template = self._content.templates.get(command.template_hash)
            if template is not None:
                return self._content.builder.build(command, address, job.request.recipient, template, now)
            if self._content.templates.waited(job.due.admitted_at, now) < self._content.template_wait:
                answer = Delay(DeliveryReason.TEMPLATE_MISSING, min(now + ASK_AGAIN, command.expires_at))
            else:
                answer = Stop(LedgerState.FAILED, DeliveryReason.TEMPLATE_MISSING, command.template)
        except TemplateError as problem:
            answer = Stop(LedgerState.FAILED, problem.reason, problem.detail)
        except Exception as error:  # noqa: BLE001  # templates and profiles are not ours: this mail's fault
            answer = unexpected(DeliveryReason.RENDER_ERROR, error)
        await self._answers.record([(job.due.status, answer)])
        return None

    async def _send(self, job: DeliveryJob, address: str, message: bytes, client: ChannelClient) -> None:
        """Record `started`, send the mail, record the answer. A crash between the two records leaves doubt.

        Where the server ends each connection before it takes the mail, and then accepts no other, the attempt is taken
        back.
        """
        command = job.due.command
        start = AttemptStart(
            due=job.due,
            address_hash=self._hasher(address),
            at=self._clock(),
        )
        begin = await self._writer.begin(start)
        if begin is Begin.ELSEWHERE:
            self._log.info("attempt_begun_elsewhere", command_id=command.id)
        elif begin is not Begin.MADE:
            self._answers.refused()
        self._begun(begin)
        if begin is not Begin.MADE:
            return
        job.started = True
        try:
            result = await client.send(self._content.return_path(command.id), address, message)
        except (Unreachable, RealMailRefused):
            await self._answers.take_back(job, start)
            job.started = False
            raise
        finally:
            job.handed_over = client.handed_over
        await self._answers.sent(job, start, result)
