"""Sends one mail: makes it, writes `started`, sends it, and records the answer.

So a crash leaves at most the mails on their way in doubt. Of two workers that hold the same command, the ledger lets
one begin it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from schemas.vocabulary import DeliveryReason, LedgerState
from senders.bounces.verp import ReturnPaths
from senders.channels.channel import ChannelClient, RealMailRefused, SendResult, Unreachable
from senders.content.mail_builder import MailBuilder
from senders.content.render import TemplateError
from senders.content.templates import TemplateCache
from senders.delivery.answers import AnswerRecorder, unexpected
from senders.delivery.attempt_path import attempt_path
from senders.delivery.mail_observer import MailObserver, SentMail
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import DeliveryJob
from senders.policy.pipeline import ASK_AGAIN, Delay, Stop
from senders.policy.recipients import AddressHasher
from senders.queue.attempt_paths import PathBook
from senders.queue.retry import RetryPolicy
from senders.queue.transitions import AttemptStart
from senders.queue.writer import Begin, LedgerWriter
from senders.shaping.lane_decider import LaneBegin


@dataclass(frozen=True, slots=True)
class MailContent:
    """What mails are made from."""

    templates: TemplateCache
    builder: MailBuilder
    template_wait: timedelta
    """How long a command waits for a template that is not there."""
    return_paths: ReturnPaths | None = None

    def return_path(self, command_id: str) -> str:
        """Where a mail that cannot be delivered is returned to."""
        signed = self.return_paths and self.return_paths.address(command_id)
        return signed or self.builder.sender.address


class MailSender:
    """One for a process. `begun` is called with the end of each begin."""

    def __init__(
        self,
        *,
        begun: Callable[[Begin], None],
        ownership: PartitionOwnership,
        content: MailContent,
        hasher: AddressHasher,
        writer: LedgerWriter,
        answers: AnswerRecorder,
        observer: MailObserver | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._begun = begun
        self._ownership = ownership
        self._content = content
        self._hasher = hasher
        self._writer = writer
        self._answers = answers
        self._paths = PathBook()
        self._observer = observer or MailObserver()
        self._clock = clock
        self._log = structlog.get_logger("senders.delivery.mail_sender")

    async def send(
        self, job: DeliveryJob, begin: LaneBegin, client: ChannelClient, retry: RetryPolicy
    ) -> SendResult | None:
        """Bring one command to its answer. Returns what the server answered, if it was asked.

        Raises Unreachable where the server took nothing of the mail: the command stays as it was, and no attempt is
        counted. For what else it raises there is `failed`.
        """
        if job.due.partition not in self._ownership.held:
            return None
        message = await self._build(job, _address(job))
        if message is None:
            return None
        await client.connect()
        if job.due.partition not in self._ownership.held:
            return None
        with self._ownership.transaction():
            return await self._send(job, begin, message, client, retry)

    async def failed(self, job: DeliveryJob, error: Exception) -> None:
        """Give a command its answer whose sending raised what nothing expects: one mail's error is its outcome."""
        try:
            await self._answers.failed(job, error)
        except Exception as again:  # noqa: BLE001
            self._answers.set_command_aside(job.due.command.id, again)

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

    async def _send(
        self, job: DeliveryJob, begin: LaneBegin, message: bytes, client: ChannelClient, retry: RetryPolicy
    ) -> SendResult | None:
        """Record `started`, send the mail, record the answer. A crash between the two records leaves doubt.

        Where the server ends each connection before it takes the mail, and then accepts no other, the attempt is taken
        back.
        """
        command, address = job.due.command, _address(job)
        start = AttemptStart(due=job.due, address_hash=self._hasher(address), at=self._clock())
        made = await self._writer.begin(start)
        if made is Begin.ELSEWHERE:
            self._log.info("attempt_begun_elsewhere", command_id=command.id)
        elif made is not Begin.MADE:
            self._answers.refused()
        self._begun(made)
        if made is not Begin.MADE:
            return None
        job.started = True
        try:
            result = await client.send(self._content.return_path(command.id), address, message)
        except (Unreachable, RealMailRefused):
            await self._answers.take_back(job, start)
            job.started = False
            raise
        finally:
            job.handed_over = client.handed_over
        now_s = asyncio.get_running_loop().time()
        path = attempt_path(self._paths, now_s, begin, client.path, result.answered)
        await self._answers.sent(job, start, result, retry, path)
        self._observer.sent(self._sent(begin, start, result))
        return result

    def _sent(self, begin: LaneBegin, start: AttemptStart, result: SendResult) -> SentMail:
        decided_at = start.due.command.decided_at
        return SentMail(
            provider=begin.lane.provider,
            purpose=begin.mail.kind.purpose,
            is_first=start.attempt == 1,
            begun_age_s=(start.at - decided_at).total_seconds(),
            ended_age_s=(self._clock() - decided_at).total_seconds(),
            state=result.state,
            reason=result.reason,
            hard=result.hard,
        )


def _address(job: DeliveryJob) -> str:
    address = job.request.address
    assert address is not None, "policy lets no command pass without an address"
    return address
