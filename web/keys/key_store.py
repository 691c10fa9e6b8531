"""The write keys in a worker's memory, read again every two seconds."""

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.postgres.migrate import require_migrated
from infra.service.faults import describe
from web.keys import key_table
from web.keys.key_table import KeyRow
from web.keys.secret import LONGEST, hash_of
from web.keys.write_key import WriteKey

REFRESH_S = 2.0
"""How soon a worker knows a new key, or one that was revoked."""


class KeyStore:
    """Used in the event loop's thread. `clock` is the time in seconds since 1970.

    While PostgreSQL is away, the keys that were last read stay valid, except one whose end was planned.
    """

    def __init__(self, database: AsyncDatabase, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._rows: Mapping[bytes, KeyRow] = {}
        self._keys: dict[bytes, tuple[WriteKey, float]] = {}
        self._log = structlog.get_logger("web.keys.key_store")

    @property
    def keys(self) -> list[WriteKey]:
        """The keys that are known, for metrics and pages."""
        return [key for key, _ in self._keys.values()]

    def find(self, secret: str) -> WriteKey | None:
        """The valid key with this secret, if there is one."""
        if len(secret) > LONGEST:
            return None
        key, ends_s = self._keys.get(hash_of(secret), _UNKNOWN)
        return key if self._clock() < ends_s else None

    async def load(self) -> None:
        """Read the keys. Waits while PostgreSQL is away; raises MigrationError if it has no table of keys."""
        with require_migrated():
            rows = await self._database.run(key_table.valid_keys)
        if rows != self._rows:
            self._rows = rows
            self._keys = {secret_hash: (row.write_key, _end_s(row)) for secret_hash, row in rows.items()}
            self._log.info("write_keys_read", keys=len(rows))

    async def run(self) -> None:
        """Read the keys again and again, until cancelled. Await `load` before the first call of `find`."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.load()
            except QueryCanceled as error:
                self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")


_UNKNOWN: tuple[None, float] = None, float("-inf")


def _end_s(row: KeyRow) -> float:
    return float("inf") if row.ends_at is None else row.ends_at.timestamp()
