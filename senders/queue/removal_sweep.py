"""Ends what waits of removed users, part by part, beside everything else that reads the queue."""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime

import structlog
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.watchdog import Watchdog
from senders.queue import removed_users
from senders.queue.leases import BLOCKS
from senders.queue.observer import LedgerObserver

SWEEPER = 0
"""The worker that holds this partition sweeps the queue of all."""
LOOK_S = 1.0
REST = 3
"""After each part the sweep rests three times as long as that took, so it takes a quarter of a connection's time."""


class RemovalSweep:
    """One task of the event loop. `database` may be that of other sweeps, and `on_ended` says that outcomes are new."""

    def __init__(
        self,
        database: AsyncDatabase,
        partitions: Callable[[], Collection[int]],
        on_ended: Callable[[], None],
        watchdog: Watchdog | None = None,
        observer: LedgerObserver | None = None,
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._on_ended = on_ended
        self._watchdog = Watchdog() if watchdog is None else watchdog
        self._observer = LedgerObserver() if observer is None else observer
        self._since: datetime | None = None
        self._log = structlog.get_logger("senders.queue.removal_sweep")

    async def run(self) -> None:
        """Sweep whenever users were removed, until cancelled."""
        while True:
            self._watchdog.beat()
            if SWEEPER in self._partitions():
                try:
                    await self.sweep()
                except QueryCanceled as error:
                    self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
            await asyncio.sleep(LOOK_S)

    async def sweep(self) -> int:
        """End what waits of the users who were removed since the last sweep began. Returns how many commands ended."""
        begun = await self._database.run(lambda connection: removed_users.begin_sweep(connection, self._since))
        if begun is None:
            return 0
        ended = 0
        for first in range(0, begun.blocks, BLOCKS):
            ended += await self._end_part(first)
        await self._database.run(removed_users.forget)
        self._since = begun.at
        return ended

    async def _end_part(self, first: int) -> int:
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        ended = await self._database.run(
            lambda connection: removed_users.end_waiting(connection, first, first + BLOCKS)
        )
        if ended:
            self._observer.withheld(ended)
            self._on_ended()
        with self._watchdog.rest():
            await asyncio.sleep(REST * (now_s() - began_s))
        return ended
