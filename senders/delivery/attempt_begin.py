"""Makes `started` durable before anything is sent: of two workers that hold a command, the ledger lets one begin it."""

from collections.abc import Callable
from datetime import timedelta

import structlog

from senders.delivery.answers import AnswerRecorder
from senders.delivery.ready_queue import DeliveryJob
from senders.queue.transitions import AttemptStart
from senders.queue.writer import Begin, LedgerWriter

CLOCKS_DIFFER = timedelta(seconds=1)
"""The database says since when a refused command is due again; its clock is behind ours by less than this."""


class AttemptBegin:
    """One for a process. `begun` is called with the end of each begin."""

    def __init__(self, writer: LedgerWriter, answers: AnswerRecorder, begun: Callable[[Begin], None]) -> None:
        self._writer = writer
        self._answers = answers
        self._begun = begun
        self._log = structlog.get_logger("senders.delivery.attempt_begin")

    async def make(self, job: DeliveryJob, start: AttemptStart) -> bool:
        """Record `started`. False if the command is not to be sent here and now: then its row says why."""
        made = await self._writer.begin(start)
        if made is Begin.ELSEWHERE:
            self._log.info("attempt_begun_elsewhere", command_id=job.due.command.id)
        elif made is not Begin.MADE:
            job.due_since(start.at - CLOCKS_DIFFER)
            self._answers.refused()
        self._begun(made)
        job.started = made is Begin.MADE
        return job.started
