"""Makes commands due whose pause has ended: after each new switch, and in each partition that arrives.

Also those that a person wants to be retried now.

Between two switches a paused command costs nothing: it waits in the ledger until its pause or its life ends.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from infra.postgres.database import AsyncDatabase
from schemas.rules import DELIVERY, Control
from senders.delivery.ownership import PartitionOwnership
from senders.policy.switches import DeliverySwitches
from senders.queue import pauses

BATCH = 5_000
"""Rows a statement. Mail of others waits while one runs."""


class PauseRelease:
    """Used by the scheduler's task, with its database."""

    def __init__(
        self,
        database: AsyncDatabase,
        switches: DeliverySwitches,
        ownership: PartitionOwnership,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._switches = switches
        self._ownership = ownership
        self._clock = clock
        self._done: tuple[int, frozenset[int]] = (0, frozenset())
        """The number of the switches, and the partitions, for which nothing is left to release."""
        self._retries: list[Control] = []
        self._log = structlog.get_logger("senders.delivery.pauses")

    def again(self) -> None:
        """Look again at every row: one was paused by a switch that may have changed before the row was written."""
        self._done = (0, frozenset())

    async def release(self) -> None:
        """Release at most a batch, if the switches or the partitions are others than before. Then retry."""
        await self._release()
        self._retries += self._switches.take_retries()
        if self._retries:
            await self._retry(self._retries[0])

    async def _retry(self, request: Control) -> None:
        kind, _, name = request.scope.removeprefix(DELIVERY).lstrip("/").partition("/")
        trigger, purpose = (name if kind == each else None for each in ("trigger", "purpose"))
        held, now = self._ownership.held, self._clock()
        retried = await self._database.run(
            lambda connection: pauses.retry_now(connection, held, trigger, purpose, now, BATCH)
        )
        if retried < BATCH:
            del self._retries[0]
        self._log.info("retried_now", count=retried, scope=request.scope, number=request.number)

    async def _release(self) -> None:
        number, held = self._switches.number, self._ownership.held
        done_number, done_partitions = self._done
        left = held if number != done_number else held - done_partitions
        if not left:
            return
        now = self._clock()
        holding = self._switches.holding(now)
        released = await self._database.run(lambda connection: pauses.release(connection, left, holding, now, BATCH))
        if released < BATCH:
            self._done = number, held
        if released:
            self._log.info("paused_commands_due", count=released, switch=number)
