"""Transactions on PostgreSQL that are repeated while the server is away, for threads and for asyncio.

Each user has one connection of its own for as long as it runs, so there is no pool. A kept connection that breaks is
not an outage: the server may have been back for a long time. The server is away only if a new connection cannot be
made, or breaks too. This is logged once.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Event
from typing import Any, TypeVar

import orjson
import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg.types.json import set_json_dumps, set_json_loads

from infra.service.faults import Fault, fault_of
from infra.service.outages import Outage, backoff_s

T = TypeVar("T")

_CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "application_name": "ebbtide-senders",
    "options": "-c timezone=UTC -c statement_timeout=60s -c lock_timeout=20s",
}


class Shutdown(BaseException):
    """The process stops and no longer waits for a server. Like a cancellation, it is not an error of the work."""


class _Attempts:
    """Decides what follows an attempt at a transaction, and reports the outage."""

    def __init__(self, outage: Outage) -> None:
        self._outage = outage
        self._away = False

    def failed(self, error: Exception, *, kept: bool) -> bool:
        """Whether to wait before the next attempt: not if the connection was a kept one."""
        if not kept:
            self._away = True
            self._outage.away(error)
        return not kept

    def succeeded(self) -> None:
        """The server answers."""
        if self._away:
            self._away = False
            self._outage.back()


def _is_fit(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Whether a connection can be used again after its work failed."""
    return not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE


def _json_through_orjson(connection: psycopg.abc.AdaptContext) -> None:
    set_json_loads(orjson.loads, connection)
    set_json_dumps(orjson.dumps, connection)


class Database:
    """One connection, used by one thread. `run` repeats its work until it is committed or the process stops."""

    def __init__(self, url: str, outage: Outage, halt: Event, beat: Callable[[], None] = lambda: None) -> None:
        self._url = url
        self._attempts = _Attempts(outage)
        self._halt = halt
        self.beat = beat
        self._connection: Connection[Any] | None = None

    def run(self, work: Callable[[Connection[Any]], T]) -> T:
        """Do `work` in one transaction and commit it. Work may run more than once, so it must be idempotent.

        Waits while the server is at fault, and raises every other error of the work (infra.service.faults). Raises
        Shutdown if the process stops while the server is away.
        """
        for wait_s in backoff_s():
            self.beat()
            kept = self._connection is not None
            try:
                connection = self._connected()
                with connection.transaction():
                    result = work(connection)
            except Exception as error:
                if fault_of(error) is not Fault.SERVER:
                    self._close_unless_fit()
                    raise
                self.close()
                if not self._attempts.failed(error, kept=kept):
                    continue
            else:
                self._attempts.succeeded()
                return result
            if self._halt.wait(wait_s):
                raise Shutdown
        raise AssertionError("back-off never ends")

    def _connected(self) -> Connection[Any]:
        if self._connection is None:
            self._connection = psycopg.connect(self._url, autocommit=True, **_CONNECTION)
            _json_through_orjson(self._connection)
        return self._connection

    def _close_unless_fit(self) -> None:
        if self._connection is not None and not _is_fit(self._connection):
            self.close()

    def close(self) -> None:
        """Close the connection. The next `run` makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """Called from another thread when the process stops: a wait for an answer of the server fails at once."""
        connection = self._connection
        if connection is not None:
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as ours:
                ours.shutdown(socket.SHUT_RDWR)


class AsyncDatabase:
    """One connection of the event loop, used by one task at a time. Like `Database`, but it ends by cancellation."""

    def __init__(self, url: str, outage: Outage, beat: Callable[[], None] = lambda: None) -> None:
        self._url = url
        self._attempts = _Attempts(outage)
        self._beat = beat
        self._connection: AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()

    async def run(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Do `work` in one transaction and commit it. Work may run more than once, so it must be idempotent.

        Waits while the server is at fault, and raises every other error of the work (infra.service.faults).
        """
        async with self._turn:
            for wait_s in backoff_s():
                self._beat()
                kept = self._connection is not None
                try:
                    connection = await self._connected()
                    async with connection.transaction():
                        result = await work(connection)
                except Exception as error:
                    if fault_of(error) is not Fault.SERVER:
                        await self._close_unless_fit()
                        raise
                    await self.close()
                    if not self._attempts.failed(error, kept=kept):
                        continue
                else:
                    self._attempts.succeeded()
                    return result
                await asyncio.sleep(wait_s)
        raise AssertionError("back-off never ends")

    async def _connected(self) -> AsyncConnection[Any]:
        if self._connection is None:
            self._connection = await AsyncConnection.connect(self._url, autocommit=True, **_CONNECTION)
            _json_through_orjson(self._connection)
        return self._connection

    async def _close_unless_fit(self) -> None:
        if self._connection is not None and not _is_fit(self._connection):
            await self.close()

    async def close(self) -> None:
        """Close the connection. The next `run` makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
