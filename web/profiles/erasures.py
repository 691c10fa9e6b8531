"""People who were erased: who notes them and lets them be known again, and the hashes in a process's memory.

What comes of them later is dropped where it would be kept: events before Kafka, values and links before the profile
store, and profiles that backends publish themselves.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection, Connection
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.postgres.erased_people import ErasedHashes, read_hashes_async, require_key
from infra.postgres.migrate import require_migrated
from infra.service.faults import describe
from schemas.people import PersonHasher

REFRESH_S = 1.0
"""How soon a process knows of another erased person."""
_SINCE = "SELECT min(erased_at) FROM erasures WHERE user_hash = ANY(%s::bytea[])"
_READMIT = "DELETE FROM erasures WHERE user_hash = %(user)s OR visit_of = %(user)s"


def remember(connection: Connection[Any], hasher: PersonHasher, ids: Sequence[str], at: datetime) -> datetime:
    """Note that a user was erased, whose id is the first, with the visits that have the others.

    Returns when the first of them was erased. Raises OtherErasureKey.
    """
    require_key(connection, hasher)
    hashes = [hasher(each) for each in ids]
    connection.execute(
        """INSERT INTO erasures (user_hash, key_id, erased_at, visit_of)
           SELECT user_hash, %s, %s, nullif(%s, user_hash) FROM unnest(%s::bytea[]) AS e (user_hash)
           ON CONFLICT DO NOTHING""",
        [hasher.key_id, at, hashes[0], hashes],
    )
    [[since]] = connection.execute(_SINCE, [hashes]).fetchall()
    return since  # type: ignore[no-any-return]


def readmit(connection: Connection[Any], hasher: PersonHasher, user_id: str) -> bool:
    """Let this id and its visits be known again; returns whether they were erased. Raises OtherErasureKey."""
    require_key(connection, hasher)
    return connection.execute(_READMIT, {"user": hasher(user_id)}).rowcount > 0


class ErasedPeople:
    """The hashes in memory, read again every second. Used in the event loop's thread."""

    def __init__(self, database: AsyncDatabase, hasher: PersonHasher) -> None:
        self._database = database
        self._hasher = hasher
        self._erased = ErasedHashes()
        self._log = structlog.get_logger("web.profiles.erasures")

    def __contains__(self, user_id: object) -> bool:
        return isinstance(user_id, str) and self._erased.has(self._hasher, user_id)

    async def load(self) -> None:
        """Read them. Waits while PostgreSQL is away; raises MigrationError without a table, and OtherErasureKey."""
        with require_migrated():
            self._erased = await self._database.run(self._read)

    async def run(self) -> None:
        """Read them again and again, until cancelled. Await `load` first. Raises OtherErasureKey."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                self._erased = await self._database.run(self._read)
            except QueryCanceled as error:
                self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")

    async def _read(self, connection: AsyncConnection[Any]) -> ErasedHashes:
        return await read_hashes_async(connection, self._erased, self._hasher)
