"""Sends one mail: makes it, writes `started`, sends it, and records the answer.

So a crash leaves at most the mails on their way in doubt. Of two workers that hold the same command, the ledger lets
one begin it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from schemas.commands import SendCommand
from schemas.vocabulary import PREFERENCES, DeliveryReason, LedgerState
from senders.bounces.verp import ReturnPaths
from senders.channels.channel import ChannelClient, RealMailRefused, SendResult, Unreachable
from senders.content.brand_book import BrandBook
from senders.content.dkim import NoSigningKey
from senders.content.mail_builder import MailBuilder, SignedMail
from senders.content.render import TemplateError
from senders.content.templates import TemplateCache
from senders.delivery.answers import AnswerRecorder, unexpected
from senders.delivery.attempt_begin import AttemptBegin
from senders.delivery.attempt_path import attempt_path
from senders.delivery.mail_observer import MailObserver, SentMail
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import DeliveryJob
from senders.policy.pipeline import ASK_AGAIN, Delay, Stop
from senders.policy.recipients import AddressHasher
from senders.queue.attempt_paths import PathBook
from senders.queue.retry import RetryPolicy
from senders.queue.transitions import AttemptStart
from senders.shaping.lane_decider import LaneBegin

KEY_AGAIN = timedelta(minutes=1)
"""When a mail is tried again whose signing key is not here: a person has to bring it, or it comes into force."""


@dataclass(frozen=True, slots=True)
class MailContent:
    """What mails are made from."""

    templates: TemplateCache
    builder: MailBuilder
    template_wait: timedelta
    """How long a command waits for a template or a brand that is not there."""
    return_paths: ReturnPaths | None = None
    brands: BrandBook = field(default_factory=BrandBook)

    def return_path(self, command: SendCommand) -> str:
        """Where a mail that cannot be delivered is returned to."""
        signed = self.return_paths and self.return_paths.address(command.id)
        brand = self.brands.get(command.brand) if command.brand else None
        return signed or (self.builder.sender.address if brand is None else brand.sender.address)


class MailSender:
    """One for a process."""

    def __init__(
        self,
        *,
        begin: AttemptBegin,
        ownership: PartitionOwnership,
        content: MailContent,
        hasher: AddressHasher,
        answers: AnswerRecorder,
        observer: MailObserver | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._begin = begin
        self._ownership = ownership
        self._content = content
        self._hasher = hasher
        self._answers = answers
        self._paths = PathBook()
        self._observer = observer or MailObserver()
        self._clock = clock

    async def send(
        self,
        job: DeliveryJob,
        begin: LaneBegin,
        client: ChannelClient,
        retry: RetryPolicy,
        taken: Callable[[], None] = lambda: None,
    ) -> SendResult | None:
        """Bring one command to its answer. Returns what the server answered, if it was asked.

        Calls `taken` once the server has taken the mail: the client may carry another while the answer is recorded.
        Raises Unreachable where the server took nothing of the mail: the command stays as it was, and no attempt is
        counted. For what else it raises there is `failed`.
        """
        if job.due.partition not in self._ownership.held:
            return None
        mail = await self._build(job, _address(job))
        if mail is None:
            return None
        await client.connect()
        if job.due.partition not in self._ownership.held:
            return None
        with self._ownership.transaction():
            return await self._send(job, begin, mail, client, retry, taken)

    async def failed(self, job: DeliveryJob, error: Exception) -> None:
        """Give a command its answer whose sending raised what nothing expects: one mail's error is its outcome."""
        try:
            await self._answers.failed(job, error)
        except Exception as again:  # noqa: BLE001
            self._answers.set_command_aside(job.due.command.id, again)

    async def _build(self, job: DeliveryJob, address: str) -> SignedMail | None:
        """The signed mail. None if it cannot be made: then the command has its answer."""
        command, now = job.due.command, self._clock()
        answer: Stop | Delay
        try:
            content = self._content
            template = content.templates.get(command.template_hash)
            brand = content.brands.get(command.brand) if command.brand else None
            if template is not None and (brand is not None or self._goes_without_brand(job, now)):
                return content.builder.build(command, address, job.request.recipient, template, now, brand)
            answer = self._missing(job, now, has_template=template is not None)
        except TemplateError as problem:
            answer = Stop(LedgerState.FAILED, problem.reason, problem.detail)
        except NoSigningKey as problem:
            again = min(now + KEY_AGAIN, command.expires_at)
            answer = Delay(DeliveryReason.SIGNING_KEY_MISSING, again, str(problem))
        except Exception as error:  # noqa: BLE001  # templates and profiles are not ours: this mail's fault
            answer = unexpected(DeliveryReason.RENDER_ERROR, error)
        await self._answers.record([(job.due.status, answer)])
        return None

    def _goes_without_brand(self, job: DeliveryJob, now: datetime) -> bool:
        """Whether the default sender may send it: a mail to confirm does not fail because its brand left the rules."""
        command = job.due.command
        return command.brand is None or (command.trigger == PREFERENCES and not self._waits(job, now))

    def _waits(self, job: DeliveryJob, now: datetime) -> bool:
        """Whether a template or brand that is not there may still come."""
        return self._content.templates.waited(job.due.admitted_at, now) < self._content.template_wait

    def _missing(self, job: DeliveryJob, now: datetime, *, has_template: bool) -> Stop | Delay:
        """The answer where the template or the brand is not there: it is published before the first command with it."""
        command = job.due.command
        reason = DeliveryReason.BRAND_MISSING if has_template else DeliveryReason.TEMPLATE_MISSING
        if self._waits(job, now):
            return Delay(reason, min(now + ASK_AGAIN, command.expires_at))
        return Stop(LedgerState.FAILED, reason, command.brand if has_template else command.template)

    async def _send(
        self,
        job: DeliveryJob,
        begin: LaneBegin,
        mail: SignedMail,
        client: ChannelClient,
        retry: RetryPolicy,
        taken: Callable[[], None],
    ) -> SendResult | None:
        """Record `started` and the links, send the mail, record the answer. A crash between the records leaves doubt.

        Where the server ends each connection before it takes the mail, and then accepts no other, the attempt is taken
        back.
        """
        command, address = job.due.command, _address(job)
        start = AttemptStart(job.due, self._hasher(address), self._clock(), mail.targets)
        if not await self._begin.make(job, start):
            return None
        try:
            result = await client.send(self._content.return_path(command), address, mail.message)
        except (Unreachable, RealMailRefused):
            await self._answers.take_back(job, start)
            job.started = False
            raise
        finally:
            job.handed_over = client.handed_over
        now_s = asyncio.get_running_loop().time()
        path = attempt_path(self._paths, now_s, begin, client.path, result.answered)
        if result.state is LedgerState.ACCEPTED:
            client.tracer = None
            taken()
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
