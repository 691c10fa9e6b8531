"""Removes links that no mail has had for long, in small steps, beside everything else."""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta

import structlog
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.watchdog import Watchdog
from senders.queue import link_targets
from senders.queue.removal_sweep import REST, SWEEPER

SWEEP_EVERY_S = 3600.0
LOOK_S = 5.0
STEP = 2_000
"""Links that one transaction removes, in some 20 ms."""


class LinkSweep:
    """One task of the event loop. `kept` is for how long links are kept after the last mail that has them."""

    def __init__(
        self,
        database: AsyncDatabase,
        partitions: Callable[[], Collection[int]],
        kept: timedelta,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._kept = kept
        self._watchdog = Watchdog() if watchdog is None else watchdog
        self._sweep_at_s = 0.0
        self._log = structlog.get_logger("senders.queue.link_sweep")

    async def run(self) -> None:
        """Sweep once an hour, until cancelled."""
        now_s = asyncio.get_running_loop().time
        while True:
            self._watchdog.beat()
            if SWEEPER in self._partitions() and now_s() >= self._sweep_at_s:
                self._sweep_at_s = now_s() + SWEEP_EVERY_S
                try:
                    await self.sweep()
                except QueryCanceled as error:
                    self._log.warning("statement_timed_out", error=describe(error), next_step="tried in an hour")
            await asyncio.sleep(LOOK_S)

    async def sweep(self) -> int:
        """Remove all links that are too old. Returns how many those were."""
        removed = 0
        while (step := await self._step()) == STEP:
            removed += step
        removed += step
        if removed:
            self._log.info("links_removed", count=removed)
        return removed

    async def _step(self) -> int:
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        removed = await self._database.run(
            lambda connection: link_targets.remove_unused(connection, self._kept, STEP), alone=True
        )
        with self._watchdog.rest():
            await asyncio.sleep(REST * (now_s() - began_s))
        return removed
