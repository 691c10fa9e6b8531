"""How much waits to be published, and how far the readers of a worker's topics are behind: of all workers together."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe

LOOK_S = 5.0
COUNTED = 100_000
"""At most so many entries of each kind are counted. An import leaves millions."""
KINDS = {"live": False, "import": True}
"""The entries of the outbox: what calls, pages and visitors changed, and after it what imports did."""

_WAITING = b"""SELECT (SELECT count(*) FROM (SELECT FROM web_outbox WHERE bulk = %(bulk)s LIMIT %(counted)s) AS c),
    (SELECT extract(epoch FROM clock_timestamp() - added_at)::float8 FROM web_outbox
     WHERE bulk = %(bulk)s ORDER BY number LIMIT 1)"""
_BEHIND = b"""SELECT reader, extract(epoch FROM clock_timestamp() - min(caught_up))::float8
    FROM web_progress GROUP BY reader HAVING bool_and(isfinite(caught_up))"""


class UnpublishedEntries(NamedTuple):
    """Entries of one kind: how many, and since when the oldest of them waits."""

    entries: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """What waits. Before the first look, nothing is known."""

    outbox: Mapping[str, UnpublishedEntries] = field(default_factory=dict)
    """By kind."""
    behind_s: Mapping[str, float] = field(default_factory=dict)
    """By reader, how long ago it was at the end of the partition where that is longest ago. Without a reader that was
    not yet at the end of each."""

    def described(self) -> dict[str, Any]:
        """For pages and programs."""
        return {
            "outbox": {
                kind: {"entries": waiting.entries, "oldest_s": round(waiting.oldest_s, 1)}
                for kind, waiting in self.outbox.items()
            },
            "behind_s": {reader: round(behind_s, 1) for reader, behind_s in self.behind_s.items()},
        }


async def read_backlog(connection: AsyncConnection[Any]) -> OutboxBacklog:
    """What waits now."""
    outbox = {}
    for kind, bulk in KINDS.items():
        cursor = await connection.execute(_WAITING, {"bulk": bulk, "counted": COUNTED})
        [[entries, oldest_s]] = await cursor.fetchall()
        outbox[kind] = UnpublishedEntries(entries, oldest_s or 0.0)
    cursor = await connection.execute(_BEHIND)
    return OutboxBacklog(outbox, dict(await cursor.fetchall()))


class BacklogGauge:
    """Keeps the last look at what waits."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self.backlog = OutboxBacklog()
        self._log = structlog.get_logger("web.publication.backlog")

    async def look(self) -> None:
        """Looks once. Waits while PostgreSQL is away."""
        self.backlog = await self._database.run(read_backlog)

    async def run(self) -> None:
        """Looks again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except QueryCanceled as error:
                self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
            await asyncio.sleep(LOOK_S)
