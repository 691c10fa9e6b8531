"""Sends one webhook: writes `started`, calls the endpoint, and records the answer.

A crash leaves the calls on their way in doubt. They are made again: the receiver knows a repeat by its id. What bounds
that is the endpoint's number of retries, and the life of the command.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.channel import ChannelClient, SendResult
from senders.content.webhooks import webhook_body
from senders.delivery.answers import AnswerRecorder
from senders.delivery.attempt_begin import AttemptBegin
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.ready_queue import DeliveryJob
from senders.policy.endpoints import KnownEndpoint
from senders.policy.recipients import AddressHasher
from senders.queue.attempt_paths import PathBook
from senders.queue.retry import RetryPolicy, next_attempt
from senders.queue.transitions import AttemptStart, StateChange

_PROVIDER = "webhook"


class WebhookSender:
    """One for a process."""

    def __init__(
        self,
        *,
        begin: AttemptBegin,
        ownership: PartitionOwnership,
        hasher: AddressHasher,
        answers: AnswerRecorder,
        retry: RetryPolicy,
        chance: Callable[[], float],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._begin = begin
        self._ownership = ownership
        self._no_address = hasher("")
        self._answers = answers
        self._retry = retry
        self._chance = chance
        self._clock = clock
        self._paths = PathBook()

    async def send(self, job: DeliveryJob, known: KnownEndpoint, client: ChannelClient) -> SendResult | None:
        """Bring one command to an answer; returns what the endpoint answered, if it was called.

        For what it raises there is `failed`.
        """
        if job.due.partition not in self._ownership.held:
            return None
        body = webhook_body(job.due.command)
        with self._ownership.transaction():
            start = AttemptStart(job.due, self._no_address, self._clock())
            if not await self._begin.make(job, start):
                return None
            try:
                result = await client.send(job.due.command.id, known.endpoint.name, body)
            finally:
                job.handed_over = client.handed_over
            await self._answers.attempted(job.due.queue_class, self._change(start, known, result))
            return result

    async def failed(self, job: DeliveryJob, error: Exception) -> None:
        """Give a command its answer whose sending raised what nothing expects."""
        try:
            await self._answers.failed(job, error)
        except Exception as again:  # noqa: BLE001
            self._answers.set_command_aside(job.due.command.id, again)

    def _change(self, start: AttemptStart, known: KnownEndpoint, result: SendResult) -> StateChange:
        """What the ledger says after an attempt: what was not taken is sent again, as long as retries are left."""
        command, now, state, reason = start.due.command, self._clock(), result.state, result.reason
        again = None
        if state is not LedgerState.ACCEPTED:
            if start.attempt <= known.endpoint.retries:
                again = next_attempt(start.attempt, now, command.expires_at, self._retry, self._chance(), result.asked)
            elif state is LedgerState.DEFERRED:
                state = LedgerState.FAILED if result.reply is None else LedgerState.REFUSED
                reason = DeliveryReason.RETRIES_USED
        path = self._paths.path(
            asyncio.get_running_loop().time(),
            provider=_PROVIDER,
            endpoint=known.endpoint.name,
            host=known.endpoint.host,
        )
        return StateChange(
            command.id,
            start.attempt,
            state,
            now,
            reason,
            str(result.reason) if reason is DeliveryReason.RETRIES_USED else None,
            again,
            result.reply,
            path=path,
        )
