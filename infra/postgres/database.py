"""Transactions on PostgreSQL that are repeated while the server is away, for threads and for asyncio.

Each user has one connection of its own for as long as it runs, so there is no pool. A kept connection that breaks is
not an outage: the server may have been back for a long time. The server is away only if a new connection cannot be
made, or breaks too. This is logged once.

`_Retries` decides what follows a failed transaction. The two classes around it only connect, run and wait, once for
threads and once for the event loop. One class cannot do both, and psycopg has two kinds of connection itself. Readers
stay threads, because librdkafka blocks in its calls, and `interrupt` has to reach a thread that blocks.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
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

_PLANS = {"options": f"{_CONNECTION['options']} -c plan_cache_mode=force_custom_plan"}
"""A plan that is kept from when a queue was empty reads all of it when it is long: behind 4,000 commands, 16 mails took
50 ms to begin. Planning takes 0.3 ms a statement, for all the rows that it changes."""

_PLANNED_ONCE = {
    "options": f"{_CONNECTION['options']} -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
}
"""Where a statement names the keys of the rows that it wants as `key = ANY(…)`, only a plan by the key's index is left,
which is right for tables of every length. A scan that nothing replaces has a price at which JIT would compile it."""

IDLE_IN_TRANSACTION_S = 10.0
"""For `idle_in_transaction_s` of processes whose transactions hold what others wait for, and which may be frozen."""


logging.getLogger("psycopg").setLevel(logging.ERROR)
"""Its warnings say that a broken connection could not be tidied up. `run` gets the error itself, and handles it."""


def idle_option(idle_s: float) -> str:
    """The option by which the server ends a session that is idle so long within a transaction; 0 for never."""
    return f"-c idle_in_transaction_session_timeout={round(idle_s * 1_000)}ms"


def _bounded(settings: dict[str, Any], idle_s: float) -> dict[str, Any]:
    return settings | {"options": f"{settings['options']} {idle_option(idle_s)}"}


class Shutdown(BaseException):
    """The process stops and no longer waits for a server. Like a cancellation, it is not an error of the work."""


class _Retries:
    """What follows a transaction that failed: another attempt at once, another after a wait, or none."""

    def __init__(self, outage: Outage) -> None:
        self._outage = outage

    def wait_s(self, error: Exception, waits: Iterator[float], *, reused: bool) -> float | None:
        """How long to wait before the next attempt; None if there is none, because the server is not at fault.

        If the connection was a reused one, the next attempt comes at once, and the outage is not reported yet.
        """
        if fault_of(error) is not Fault.SERVER:
            return None
        if reused:
            return 0.0
        self._outage.away(error, self)
        return next(waits)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Marks a caller that waits for attempts. A caller that leaves before the server answers counts no more."""
        try:
            yield
        except BaseException:
            self._outage.give_up(self)
            raise

    def succeeded(self) -> None:
        """Report an answer of the server. It ends the outage unless another caller still waits."""
        self._outage.back(self)


def _is_usable(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Whether a connection can be used again after a transaction failed."""
    return not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE


def _use_orjson(connection: psycopg.abc.AdaptContext) -> None:
    set_json_loads(orjson.loads, connection)
    set_json_dumps(orjson.dumps, connection)


class Database:
    """One connection, used by one thread. `run` repeats its work until it is committed or the process stops.

    The server ends a transaction that is idle for `idle_in_transaction_s`, and `run` repeats it; 0 for never.
    """

    def __init__(
        self,
        url: str,
        outage: Outage,
        halt: Event,
        beat: Callable[[], None] = lambda: None,
        idle_in_transaction_s: float = 0.0,
    ) -> None:
        self._url = url
        self._settings = _bounded(_CONNECTION, idle_in_transaction_s)
        self._retries = _Retries(outage)
        self._halt = halt
        self.beat = beat
        self._connection: Connection[Any] | None = None

    def run(self, work: Callable[[Connection[Any]], T], *, patient: bool = True) -> T:
        """Do `work` in one transaction and commit it. Work may run more than once, so it must be idempotent.

        Waits while the server is at fault (infra.service.faults), and raises every other error of the work. Raises
        Shutdown if the process stops while the server is away. Unless `patient`, raises the server's error instead.
        """
        with self._retries.waiting():
            waits = backoff_s()
            while True:
                self.beat()
                reused = self._connection is not None
                try:
                    connection = self._connected()
                    with connection.transaction():
                        result = work(connection)
                except Exception as error:
                    wait_s = self._retries.wait_s(error, waits, reused=reused)
                    if wait_s is None:
                        self._close_unless_usable()
                        raise
                    self.close()
                    if wait_s and not patient:
                        raise
                else:
                    self._retries.succeeded()
                    return result
                if wait_s and self._halt.wait(wait_s):
                    raise Shutdown

    def _connected(self) -> Connection[Any]:
        if self._connection is None:
            self._connection = psycopg.connect(self._url, autocommit=True, **self._settings)
            _use_orjson(self._connection)
        return self._connection

    def _close_unless_usable(self) -> None:
        if self._connection is not None and not _is_usable(self._connection):
            self.close()

    def close(self) -> None:
        """Close the connection. The next `run` makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """For another thread when the process stops: a wait for the server's answer fails at once."""
        connection = self._connection
        if connection is not None:
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as ours:
                ours.shutdown(socket.SHUT_RDWR)


class AsyncDatabase:
    """One connection of the event loop, used by one task at a time. Like `Database`, but it ends by cancellation.

    With `planned_once` a statement is planned once, not for each execution: for those that name the keys of all rows
    that they want.
    """

    def __init__(
        self,
        url: str,
        outage: Outage,
        beat: Callable[[], None] = lambda: None,
        idle_in_transaction_s: float = 0.0,
        *,
        planned_once: bool = False,
    ) -> None:
        self._url = url
        plans = _PLANNED_ONCE if planned_once else _PLANS
        self._settings = _bounded(_CONNECTION | plans, idle_in_transaction_s)
        self._retries = _Retries(outage)
        self._beat = beat
        self._connection: AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()

    async def run(
        self,
        work: Callable[[AsyncConnection[Any]], Awaitable[T]],
        *,
        pipelined: bool = False,
        patient: bool = True,
        alone: bool = False,
    ) -> T:
        """Do `work` in one transaction and commit it. Work may run more than once, so it must be idempotent.

        Waits while the server is at fault (infra.service.faults), and raises every other error of the work. Unless
        `patient`, raises the server's error instead. Statements of pipelined work are sent without a wait for the ones
        before; only who reads a result waits, and gets the error of the first statement that failed. Work that is one
        statement, or only reads, may stand `alone`: it costs two round trips less, and its locks do not outlast it.
        """
        async with self._lock:
            with self._retries.waiting():
                waits = backoff_s()
                while True:
                    self._beat()
                    reused = self._connection is not None
                    try:
                        connection = await self._connected()
                        async with (
                            connection.pipeline() if pipelined else nullcontext(),
                            nullcontext() if alone else connection.transaction(),
                        ):
                            result = await work(connection)
                    except Exception as error:
                        wait_s = self._retries.wait_s(error, waits, reused=reused)
                        if wait_s is None:
                            await self._close_unless_usable()
                            raise
                        await self.close()
                        if wait_s and not patient:
                            raise
                    else:
                        self._retries.succeeded()
                        return result
                    await asyncio.sleep(wait_s)

    async def _connected(self) -> AsyncConnection[Any]:
        if self._connection is None:
            self._connection = await AsyncConnection.connect(self._url, autocommit=True, **self._settings)
            _use_orjson(self._connection)
        return self._connection

    async def _close_unless_usable(self) -> None:
        if self._connection is not None and not _is_usable(self._connection):
            await self.close()

    async def close(self) -> None:
        """Close the connection. The next `run` makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
