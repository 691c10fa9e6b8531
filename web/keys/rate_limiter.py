"""Limits by write key over all workers: a worker takes events out of its own share, and trades shares every second."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from psycopg import AsyncConnection
from psycopg.errors import IdleInTransactionSessionTimeout, QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from web.keys import share_table
from web.keys.event_window import WITHOUT_SHARE_S, EventWindow
from web.keys.key_store import KeyStore
from web.keys.shares import KeyLimit, Share, next_share
from web.keys.write_key import WriteKey

ROUND_S = 1.0
LEAVE_S = 1.0
"""How long a worker that stops tries to give back its shares. Its lease ends soon anyway."""


class RateLimiter:
    """Used in the event loop's thread. `worker` is unique among all that ever ran; `clock` is in seconds.

    While PostgreSQL is away, each worker goes on with the shares that it has.
    """

    def __init__(
        self, database: AsyncDatabase, keys: KeyStore, worker: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._keys = keys
        self._worker = worker
        self._clock = clock
        self._limits: dict[str, KeyLimit] = {}
        self._windows: dict[str, EventWindow] = {}
        self._joined: set[str] = set()
        """The keys of which this worker has had a share."""
        self._round_at_s = clock()
        self._log = structlog.get_logger("web.keys.rate_limiter")

    def allow(self, key: WriteKey, events: int) -> float:
        """Take a call of so many events: 0, or else the seconds after which it may come again."""
        if key.events_per_s is None:
            return 0.0
        window = self._windows.get(key.id)
        return WITHOUT_SHARE_S if window is None else window.take(events, self._clock())

    async def trade(self) -> None:
        """Tell the other workers what this one wants, and get its shares. Waits while PostgreSQL is away."""
        self._follow_keys()
        if not self._limits:
            return
        asked = self._count_asked()

        async def work(connection: AsyncConnection[Any]) -> dict[str, Share]:
            found = await share_table.look(connection, self._worker)
            shares = {key_id: self._share(key_id, found.get(key_id, {}), *asked[key_id]) for key_id in self._limits}
            for key_id, share in shares.items():  # before others can know that it is smaller
                self._windows[key_id].share = min(self._windows[key_id].share, share.events)
            await share_table.write(connection, self._worker, _changed(shares, found, self._worker))
            return shares

        for key_id, share in (await self._database.run(work)).items():
            self._windows[key_id].share = share.events
            self._joined.add(key_id)

    async def run(self) -> None:
        """Trade again and again, until cancelled. Await `trade` before the first call of `allow`."""
        while True:
            await asyncio.sleep(ROUND_S)
            try:
                await self.trade()
            except (QueryCanceled, IdleInTransactionSessionTimeout) as error:
                self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")

    async def leave(self) -> None:
        """Give the shares back, when the worker takes no more calls."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._database.run(lambda connection: share_table.leave(connection, self._worker))

    def _follow_keys(self) -> None:
        """Has a window for each key that has a limit now."""
        self._limits = {key.id: KeyLimit.of(key.events_per_s) for key in self._keys.keys if key.events_per_s}
        self._joined &= self._limits.keys()
        self._windows = {key_id: self._windows.get(key_id) or EventWindow() for key_id in self._limits}
        for key_id, limit in self._limits.items():
            self._windows[key_id].window_s = limit.window_s

    def _count_asked(self) -> dict[str, tuple[int, int]]:
        """What callers asked for in a window, and in their largest call; more than the limit counts as the limit."""
        now_s = self._clock()
        past_s, self._round_at_s = max(now_s - self._round_at_s, ROUND_S / 2), now_s
        asked = {}
        for key_id, window in self._windows.items():
            most = self._limits[key_id].events
            wanted = math.ceil(window.wanted * window.window_s / past_s)
            asked[key_id] = min(wanted, most), min(window.largest, most)
            window.wanted, window.largest = 0, 1
        return asked

    def _share(self, key_id: str, shares: dict[str, Share], wanted: int, largest: int) -> Share:
        most = self._windows[key_id].share if key_id in self._joined else None
        return next_share(self._limits[key_id], shares, self._worker, wanted, largest, most)


def _changed(shares: dict[str, Share], found: dict[str, dict[str, Share]], worker: str) -> dict[str, Share]:
    """Those of a worker's shares that are not written yet."""
    return {
        key_id: share
        for key_id, share in shares.items()
        if (old := found.get(key_id, {}).get(worker)) is None
        or (old.wanted, old.largest, old.events) != (share.wanted, share.largest, share.events)
    }
