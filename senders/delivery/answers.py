"""What became of each command, into the ledger: the answers of the stages, those of the channel, and failures.

After each answer that the topic `outcomes` must carry, `on_answer` is called.
"""

import random
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

import structlog

from infra.service.faults import describe
from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState, ReplyClass
from senders.channels.channel import SendResult
from senders.delivery.ready_queue import DeliveryJob
from senders.policy.ledger_changes import change_of
from senders.policy.pipeline import Delay, Stop
from senders.queue.attempt_paths import AttemptPath
from senders.queue.ledger import CommandStatus, QueueClass
from senders.queue.retry import RetryPolicy, asked_wait, next_attempt
from senders.queue.transitions import AttemptStart, StateChange
from senders.queue.writer import LedgerWriter, RowRefused
from senders.settings import SenderSettings

TRY_AGAIN = timedelta(minutes=1)
"""When a command is tried again that raised an unexpected error before its mail began."""


def unexpected(reason: DeliveryReason, error: Exception) -> Stop:
    """The answer to a command that raised an unexpected error: the exception's type and place, none of its text."""
    return Stop(LedgerState.FAILED, reason, describe(error))


class AnswerRecorder:
    """Used in the event loop's thread only."""

    def __init__(
        self,
        settings: SenderSettings,
        writer: LedgerWriter,
        on_answer: Callable[[], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
        due_again: Callable[[QueueClass, datetime], None] = lambda *_: None,
    ) -> None:
        """`due_again` is called with each command that waits for another attempt, once its row says so."""
        self._settings = settings
        self._writer = writer
        self._on_answer = on_answer
        self._clock = clock
        self._chance = chance
        self._due_again = due_again
        self._set_aside: set[str] = set()
        self._unended: dict[str, tuple[QueueClass, StateChange]] = {}
        """How attempts end whose row could not be written, by command."""
        self._end_again_at = clock()
        self._log = structlog.get_logger("senders.delivery.answers")

    @property
    def set_aside(self) -> Collection[str]:
        """Commands whose ledger row cannot be written. This process leaves them alone; the next one tries again."""
        return self._set_aside

    def set_command_aside(self, command_id: str, error: Exception) -> None:
        """Leave a command alone if its answer cannot be written."""
        self._log.error("command_set_aside", command_id=command_id, error=describe(error))
        self._set_aside.add(command_id)

    # answers without a mail transaction

    async def record(self, answers: Collection[tuple[CommandStatus, Stop | Delay]]) -> None:
        """Record answers to commands that get no mail now. If that fails, record each alone, or set it aside."""
        try:
            await self._write(answers)
        except Exception as error:  # noqa: BLE001  # each is tried alone, which shows whose fault it is
            if len(answers) == 1:
                [(status, _)] = answers
                self.set_command_aside(status.command_id, error)
                return
            for answer in answers:
                await self.record([answer])

    async def _write(self, answers: Collection[tuple[CommandStatus, Stop | Delay]]) -> None:
        now = self._clock()
        settled: list[StateChange] = []
        postponed: list[StateChange] = []
        for status, answer in answers:
            change = change_of(status, answer, now)
            (postponed if change.state == status.state else settled).append(change)
        self._set_aside |= await self._writer.settle(settled)
        self._set_aside |= await self._writer.postpone(postponed)
        if settled:
            self._on_answer()

    def refused(self) -> None:
        """A mail was refused where it would have begun, and its ledger row says why."""
        self._on_answer()

    # answers of mail transactions

    async def take_back(self, job: DeliveryJob, start: AttemptStart) -> None:
        """Undo an attempt that reached no server: the command is as before, and due now."""
        now = self._clock()
        change = StateChange(job.due.command.id, start.attempt, job.due.state, now, next_attempt_at=now)
        await self._writer.take_back(change)
        job.due_since(now)

    async def sent(
        self, job: DeliveryJob, start: AttemptStart, result: SendResult, retry: RetryPolicy, path: AttemptPath
    ) -> None:
        """Record what the channel answered, and the way. A deferred mail is tried again by the policy of its lane."""
        command, now = job.due.command, self._clock()
        again = result.state is LedgerState.DEFERRED or (
            result.state is LedgerState.IN_DOUBT and self._settings.policy(command.purpose) == "resend"
        )
        change = StateChange(
            command_id=command.id,
            attempt=start.attempt,
            state=result.state,
            at=now,
            reason=result.reason,
            next_attempt_at=self._next_attempt(start, now, result.reply, retry) if again else None,
            reply=result.reply,
            hard=result.hard,
            classifier_hash=result.classifier_hash,
            path=path,
            blocked=result.reason == ReplyClass.SPAM_BLOCK,
        )
        await self.attempted(start.due.queue_class, change)

    async def attempted(self, queue_class: QueueClass, change: StateChange) -> None:
        """Record how an attempt ended."""
        if not await self._writer.answer(change):
            self._log.warning("answer_too_late", command_id=change.command_id, state=change.state.value)
        if change.next_attempt_at is not None:
            self._due_again(queue_class, change.next_attempt_at)
        self._on_answer()

    async def failed(self, job: DeliveryJob, error: Exception) -> None:
        """Record that sending raised an unexpected error: the command failed, or is in doubt if it was handed over.

        Where the ledger refused a row of a mail that no server has, the command is tried again after a while.
        """
        if isinstance(error, RowRefused) and not job.handed_over:
            await self.postponed(job, error)
            return
        stop = unexpected(DeliveryReason.DELIVERY_ERROR, error)
        command_id = job.due.command.id
        self._log.error("mail_failed", command_id=command_id, state=stop.state.value, error=stop.detail)
        if not job.started:
            await self.record([(job.due.status, stop)])
            return
        state = LedgerState.IN_DOUBT if job.handed_over else stop.state
        change = StateChange(command_id, job.due.attempt + 1, state, self._clock(), stop.reason, stop.detail)
        await self._end(job.due.queue_class, change)

    async def postponed(self, job: DeliveryJob, error: Exception) -> None:
        """Record that a command raised an unexpected error before its mail: it is tried again after a while."""
        stop, now = unexpected(DeliveryReason.DELIVERY_ERROR, error), self._clock()
        self._log.error("mail_postponed", command_id=job.due.command.id, error=stop.detail)
        again = Delay(DeliveryReason.DELIVERY_ERROR, now + TRY_AGAIN, stop.detail)
        if not job.started:
            await self.record([(job.due.status, again)])
            return
        attempt, state = job.due.attempt + 1, job.due.state
        change = StateChange(job.due.command.id, attempt, state, now, again.reason, again.detail, again.until)
        await self._end(job.due.queue_class, change)

    async def _end(self, queue_class: QueueClass, change: StateChange) -> None:
        """End an attempt that went wrong, or note that this is still to be done: until then its row says `started`."""
        write = self._writer.answer if change.next_attempt_at is None else self._writer.take_back
        try:
            await write(change)
        except RowRefused as error:
            self._log.error("attempt_not_ended", command_id=change.command_id, error=describe(error))
            self._unended[change.command_id] = queue_class, change
        else:
            self._unended.pop(change.command_id, None)
            if change.next_attempt_at is not None:
                self._due_again(queue_class, change.next_attempt_at)
            self._on_answer()

    async def end_attempts(self) -> None:
        """Once a minute, try again to end attempts whose row could not be written."""
        now = self._clock()
        if self._unended and now >= self._end_again_at:
            self._end_again_at = now + TRY_AGAIN
            for queue_class, change in list(self._unended.values()):
                await self._end(queue_class, change)

    def _next_attempt(self, start: AttemptStart, now: datetime, reply: Reply | None, retry: RetryPolicy) -> datetime:
        asked = None if reply is None else asked_wait(reply.text)
        return next_attempt(start.attempt, now, start.due.command.expires_at, retry, self._chance(), asked)
