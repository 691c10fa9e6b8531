"""Which people were erased, as delivery asks: nothing of them is kept, and no mail begins."""

import time
from collections.abc import Collection, Mapping
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection

from infra.postgres.database import Database
from infra.postgres.erased_people import AMONG, ErasedHashes, hashes_of, nobodies, read_hashes
from infra.service.faults import Fault, fault_of
from schemas.people import PersonHasher

REFRESH_S = 1.0
AWAY_S = 10.0
"""How soon a ledger that was away is asked again: an attempt may take seconds, and facts do not wait for it."""


async def ask_erased(connection: AsyncConnection[Any], hasher: PersonHasher, users: Collection[str]) -> "ErasedAnswer":
    """Asks which of the users were erased; the answer is read later."""
    hashes = hashes_of(hasher, users)
    return ErasedAnswer(await connection.execute(AMONG, [list(hashes)]), hashes, nobodies(users))


class ErasedAnswer:
    """What the database says of some users."""

    def __init__(self, cursor: Any, hashes: Mapping[bytes, str], nobody: frozenset[str]) -> None:
        self._cursor = cursor
        self._hashes = hashes
        self._nobody = nobody

    async def users(self) -> frozenset[str]:
        """Those who were erased, or are nobody."""
        return frozenset([self._hashes[bytes(found)] async for (found,) in self._cursor]) | self._nobody


class KnownErasures:
    """The hashes in memory, read again every second; while the ledger is away, as they were. Used by one thread."""

    def __init__(self, ledger: Database, hasher: PersonHasher) -> None:
        self._ledger = ledger
        self._hasher = hasher
        self._erased = ErasedHashes()
        self._again_s = 0.0

    def among(self, users: Collection[str]) -> frozenset[str]:
        """Those of the users who were erased, or are nobody."""
        if time.monotonic() >= self._again_s:
            self._look()
        return frozenset(user for user in users if self._erased.has(self._hasher, user))

    def _look(self) -> None:
        self._again_s = time.monotonic() + REFRESH_S
        try:
            self._erased = self._ledger.run(self._read, patient=False)
        except psycopg.Error as error:
            if fault_of(error) is not Fault.SERVER:
                raise
            self._again_s = time.monotonic() + AWAY_S

    def _read(self, connection: Connection[Any]) -> ErasedHashes:
        return read_hashes(connection, self._erased)
