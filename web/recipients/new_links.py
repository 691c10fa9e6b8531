"""Keeps the newest links in memory, also those that nobody has followed yet: clicks go on while PostgreSQL is away."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.watchdog import Watchdog
from web.recipients import stored
from web.recipients.lookup import Lookup

LOOK_S = 5.0
MOST_AT_ONCE = 20_000
"""Decoding them keeps the event loop for some 20 ms."""
LATE = timedelta(seconds=30)
"""A link has the time at which its transaction began, and can be seen only once that is committed."""


class NewLinks:
    """All methods belong to the event loop's thread; `run` must run."""

    def __init__(self, database: AsyncDatabase, links: Lookup[bytes, str], watchdog: Watchdog) -> None:
        self._database = database
        self._links = links
        self._watchdog = watchdog
        self._since = datetime.min.replace(tzinfo=UTC)
        self._log = structlog.get_logger("web.recipients.new_links")

    async def run(self) -> None:
        """Follow the table, until cancelled."""
        while True:
            self._watchdog.beat()
            with self._watchdog.rest():
                await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Keep what is new, or nothing if PostgreSQL takes longer than a minute: the next look finds it."""
        query = partial(stored.new_links, since=self._since, most=MOST_AT_ONCE)
        try:
            links, last = await self._database.run(query)
        except QueryCanceled as error:
            self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
            return
        self._links.keep(links)
        self._since = max(self._since, last - LATE) if links else self._since
