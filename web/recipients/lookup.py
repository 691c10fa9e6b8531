"""Looks values up in PostgreSQL: many requests by one query, and what was found stays in memory, within a bound."""

import asyncio
from collections.abc import Awaitable, Collection, Hashable, Mapping
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import structlog
from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from infra.service.outages import Outage
from web.profiles.store import StoreAway

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

MOST_AT_ONCE = 1_000
WITHIN_S = 2.0
"""How long a reader waits at most. Most mail programs give up after some ten seconds."""


class Query(Protocol[Key, Value_co]):
    """Asks the database."""

    def __call__(self, connection: AsyncConnection[Any], keys: Collection[Key]) -> Awaitable[Mapping[Key, Value_co]]:
        """The values of these keys, as far as they are known."""


class Lookup(Generic[Key, Value]):
    """One for each kind of value. All methods belong to the event loop's thread; `run` must run."""

    def __init__(self, database: AsyncDatabase, outage: Outage, query: Query[Key, Value], most: int) -> None:
        self._database = database
        self._outage = outage
        self._query = query
        self._most = most
        self._known: dict[Key, Value] = {}
        self._asked: dict[Key, asyncio.Future[Value | None]] = {}
        self._waiting: asyncio.Queue[Key] = asyncio.Queue()
        self._log = structlog.get_logger("web.recipients.lookup")

    def known(self, key: Key) -> Value | None:
        """The value, if it is in memory."""
        found = self._known.pop(key, None)
        if found is not None:
            self._known[key] = found
        return found

    def keep(self, values: Mapping[Key, Value]) -> None:
        """Keep these values; forget those that were asked for least recently, if there are too many."""
        self._known.update(values)
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]

    async def get(self, key: Key) -> Value | None:
        """The value, None if nobody knows it; raises StoreAway if the database does not answer within two seconds."""
        found = self.known(key)
        if found is not None:
            return found
        if self._outage.is_away:
            raise StoreAway
        try:
            async with asyncio.timeout(WITHIN_S):
                return await asyncio.shield(self._answer(key))
        except TimeoutError:
            raise StoreAway from None

    async def patient(self, key: Key) -> Value | None:
        """The value, None if nobody knows it. Waits for the database."""
        found = self.known(key)
        return found if found is not None else await asyncio.shield(self._answer(key))

    def _answer(self, key: Key) -> "asyncio.Future[Value | None]":
        if key not in self._asked:
            self._asked[key] = asyncio.get_running_loop().create_future()
            self._waiting.put_nowait(key)
        return self._asked[key]

    async def run(self) -> None:
        """Answer what is asked, until cancelled."""
        while True:
            keys = [await self._waiting.get()]
            while not self._waiting.empty() and len(keys) < MOST_AT_ONCE:
                keys.append(self._waiting.get_nowait())
            values = await self._values(keys)
            self.keep(values)
            for key in keys:
                self._asked.pop(key).set_result(values.get(key))

    async def _values(self, keys: Collection[Key]) -> Mapping[Key, Value]:
        """What PostgreSQL says, asked again if it takes longer than a statement may."""
        while True:
            try:
                return await self._database.run(partial(self._query, keys=keys))
            except QueryCanceled as error:
                self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
