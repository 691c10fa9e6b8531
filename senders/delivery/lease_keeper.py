"""Keeps this worker's lease and its partitions in the ledger, and puts in doubt what dead workers began."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.watchdog import Watchdog
from schemas.vocabulary import DeliveryReason
from senders.delivery.ownership import PartitionOwnership
from senders.queue import leases
from senders.queue.leases import LostWorkers
from senders.queue.ledger_clock import LedgerClock
from senders.queue.observer import LedgerObserver
from senders.settings import SenderSettings

END_WITHIN_S = 0.5
"""How long the end of the lease may take when the process stops. Without it, the lease ends by itself."""


class LeaseKeeper:
    """One task. `database` is used by it only; `on_doubt` is called when commands are in doubt."""

    def __init__(
        self,
        settings: SenderSettings,
        *,
        database: AsyncDatabase,
        owner: str,
        ownership: PartitionOwnership,
        clock: LedgerClock,
        on_doubt: Callable[[], None],
        observer: LedgerObserver,
        watchdog: Watchdog,
    ) -> None:
        self._database = database
        self._owner = owner
        self._ownership = ownership
        self._clock = clock
        self._on_doubt = on_doubt
        self._observer = observer
        self._watchdog = watchdog
        self._lease = timedelta(seconds=settings.lease_s)
        self._interval_s = settings.lease_s / leases.RENEWALS
        self._resend = [purpose for purpose, policy in settings.in_doubt.items() if policy == "resend"]
        self._lost: LostWorkers | None = None
        self._ended = False
        self._log = structlog.get_logger("senders.delivery.lease_keeper")

    async def run(self) -> None:
        """Renew the lease, until cancelled."""
        while not self._ended:
            self._watchdog.beat()
            try:
                await self.renew()
            except QueryCanceled as error:
                self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
            await asyncio.sleep(self._interval_s)
        with self._watchdog.rest():
            await asyncio.Event().wait()

    async def renew(self) -> None:
        """Renew the lease once, take back partitions that a woken worker took, and look for dead workers.

        The renewal is committed before the look, however long that takes.
        """
        held = sorted(self._ownership.held)
        taken = await self._database.run(lambda connection: self._renew(connection, held))
        if taken:
            self._log.warning("partitions_taken_back", count=taken)
        await self._judge()

    async def _renew(self, connection: AsyncConnection[Any], held: list[int]) -> int:
        await leases.renew(connection, self._owner, self._lease)
        await self._clock.look(connection)
        return await leases.take_over(connection, held, self._owner)

    async def _judge(self) -> None:
        """Put in doubt what lost workers began, part by part, until it is time to renew again."""
        now_s = asyncio.get_running_loop().time
        until_s = now_s() + self._interval_s
        if self._lost is None:
            self._lost = await self._database.run(
                lambda connection: leases.lost_workers(connection, self._owner, self._lease)
            )
        while self._lost is not None and now_s() < until_s:
            await self._search(self._lost)

    async def _search(self, lost: LostWorkers) -> None:
        in_doubt, self._lost = await self._database.run(
            lambda connection: leases.mark_in_doubt(connection, lost, self._resend)
        )
        if in_doubt:
            self._observer.lost(in_doubt)
            self._log.warning("in_doubt", count=in_doubt, reason=DeliveryReason.WORKER_LOST.value)
            self._on_doubt()

    async def end(self) -> None:
        """End the lease: no mail of this worker is on its way any more, or will have an answer."""
        self._ended = True
        try:
            async with asyncio.timeout(END_WITHIN_S):
                await self._database.run(lambda connection: leases.end(connection, self._owner))
        except TimeoutError:
            self._log.info("lease_not_ended", next_step="it ends by itself")
