"""What becomes of a mail at a return path: its outcome is on the topic `outcomes` before the mail is acknowledged."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.connection import Connection
from infra.service.outages import Outage
from infra.service.tasks import run_in_thread
from schemas import codec
from schemas.outcomes import Outcome
from schemas.topics import OUTCOMES
from senders.bounces.bounce_outcomes import outcome_of, written_at
from senders.bounces.classifier import Classifier
from senders.bounces.feedback_report import signed_addresses
from senders.bounces.mime import ReturnedMail, read_mail
from senders.bounces.returned_mail import Finding, findings_in
from senders.bounces.sent_commands import SentCommands
from senders.bounces.verp import ReturnPaths

ANSWER_S = 20.0
"""How long database and broker may take for one mail. A sender waits ten minutes for the reply to its final dot."""


@dataclass(frozen=True, slots=True)
class _ReadMail:
    """What a mail says, of which command if a signed return path names one, and when it was written."""

    findings: list[Finding]
    command_id: str | None
    at: datetime


class Inbox:
    """Reads mails, and publishes what they say. `counted` gets the kind of each, and the class of a bounce."""

    def __init__(
        self,
        connection: Connection,
        commands: SentCommands,
        kafka: Outage,
        paths: ReturnPaths,
        classifier: Classifier,
        counted: Callable[[str, str], None],
    ) -> None:
        self._commands = commands
        self._kafka = kafka
        self._paths = paths
        self._classifier = classifier
        self._counted = counted
        self._lock = asyncio.Lock()
        self._at_work: set[asyncio.Task[Any]] = set()
        self._log = structlog.get_logger("senders.bounces.inbox")
        self._producer = Producer(
            connection.client(
                partitioner=codec.PARTITIONER,
                enable_idempotence=True,
                linger_ms=2,
                message_timeout_ms=int(ANSWER_S * 500),
            )
        )

    async def receive(self, recipient: str, content: bytes) -> None:
        """Keep what a mail says. Raises what kept it from that, as TimeoutError if the database does not answer now."""
        task = asyncio.current_task()
        assert task is not None, "the listener calls it in a task"
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        read = await run_in_thread("bounce", lambda: self._read(recipient, content, datetime.now(UTC)))
        command_id = read.command_id
        kind = read.findings[0].kind.value
        if command_id is None:
            self._counted(kind, "unsigned")
            self._log.info("complaint_unsigned", kind=kind)
            return
        async with asyncio.timeout(ANSWER_S):
            command = await self._commands.find(command_id)
        if command is None:
            self._counted(kind, "unknown_command")
            self._log.info("bounce_of_unknown_command", command_id=command_id, kind=kind)
            return
        outcome = outcome_of(read.findings, command, read.at, self._classifier.hash)
        self._counted(kind, (outcome and outcome.classification) or "")
        if outcome is None:
            self._log.info("mail_without_outcome", command_id=command_id, kind=kind)
            return
        await self._publish(outcome)
        self._log.info(
            "bounce_kept",
            command_id=command_id,
            kind=outcome.kind.value,
            bounce_class=outcome.classification,
            hard=outcome.hard,
        )

    async def finish(self, within_s: float) -> None:
        """Wait until the mails that are being kept are kept, at most this long."""
        try:
            async with asyncio.timeout(within_s):
                while self._at_work:
                    await asyncio.wait(set(self._at_work))
        except TimeoutError:
            self._log.warning("bounces_not_finished", mails=len(self._at_work))

    def _read(self, recipient: str, content: bytes, now: datetime) -> _ReadMail:
        """What a mail says. In a thread: a mail of 2 MB takes long."""
        mail = read_mail(content)
        command_id = self._paths.command_id(recipient) or self._signed_inside(mail)
        return _ReadMail(findings_in(mail, self._classifier), command_id, written_at(mail.headers, now))

    def _signed_inside(self, mail: ReturnedMail) -> str | None:
        """The command whose return path stands in a complaint."""
        found = (self._paths.command_id(address) for address in signed_addresses(mail))
        return next((command_id for command_id in found if command_id is not None), None)

    async def _publish(self, outcome: Outcome) -> None:
        """Put the outcome on its topic. Raises KafkaException if no broker takes it."""
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        async with self._lock:
            self._producer.produce(
                OUTCOMES.name, codec.encode(outcome), outcome.user_id.encode(), on_delivery=delivered
            )
            left = await run_in_thread("bounce-flush", lambda: self._producer.flush(ANSWER_S))
        if failed or left:
            error = KafkaException(failed[0] if failed else KafkaError(KafkaError._TIMED_OUT))
            self._kafka.away(error)
            raise error
        self._kafka.back()
