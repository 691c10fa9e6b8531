"""Transactions that outlive a broken connection and an outage, in threads and on the event loop."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import psycopg
import pytest
from drivers.free_ports import free_port
from drivers.running_senders import wait_until
from psycopg.errors import DivisionByZero, UndefinedTable
from structlog.testing import capture_logs

from infra.postgres.database import AsyncDatabase, Database, Shutdown
from infra.service.faults import Fault, fault_of
from infra.service.outages import Outage
from infra.service.tasks import end_tasks

pytestmark = pytest.mark.servers

Run = Callable[[str], Any]
"""Runs one statement in a transaction, and returns the first value."""


def in_thread(url: str) -> tuple[Run, Callable[[], None]]:
    database = Database(url, Outage("database"), Event())
    return lambda statement: database.run(lambda c: _first(c.execute(statement).fetchone())), database.close  # type: ignore[call-overload]


def in_loop(url: str, *, pipelined: bool = False) -> tuple[Run, Callable[[], None]]:
    loop = asyncio.new_event_loop()
    database = AsyncDatabase(url, Outage("database"))

    async def work(connection: psycopg.AsyncConnection[Any], statement: str) -> Any:
        return _first(await (await connection.execute(statement)).fetchone())  # type: ignore[call-overload]

    def close() -> None:
        loop.run_until_complete(database.close())
        loop.close()

    def run(statement: str) -> Any:
        return loop.run_until_complete(database.run(lambda c: work(c, statement), pipelined=pipelined))

    return run, close


def in_pipeline(url: str) -> tuple[Run, Callable[[], None]]:
    return in_loop(url, pipelined=True)


def _first(row: tuple[Any, ...] | None) -> Any:
    return row and row[0]


@pytest.fixture(params=[in_thread, in_loop, in_pipeline])
def run(request: pytest.FixtureRequest, database_url: str) -> Iterator[Run]:
    run, close = request.param(database_url)
    yield run
    close()


def terminate(database_url: str, process_id: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [process_id])


def test_a_reused_connection_that_breaks_is_replaced_and_is_no_outage(
    run: Run, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = run("SELECT pg_backend_pid()")
    assert run("SELECT pg_backend_pid()") == first, "the connection is kept"
    terminate(database_url, first)
    with capture_logs() as logs:
        assert run("SELECT pg_backend_pid()") != first
    assert logs == []
    assert [record.message for record in caplog.records if record.name == "psycopg"] == []


def test_an_error_of_the_work_is_raised_and_the_connection_is_kept(run: Run) -> None:
    first = run("SELECT pg_backend_pid()")
    with pytest.raises(UndefinedTable):
        run("SELECT 1 FROM no_such_table")
    assert run("SELECT pg_backend_pid()") == first


def test_a_server_that_is_down_is_reported_once_and_no_longer_waited_for_at_shutdown() -> None:
    halt = Event()
    database = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/none", Outage("database"), halt)
    stopper = threading.Timer(1.0, halt.set)
    with capture_logs() as logs:
        stopper.start()
        with pytest.raises(Shutdown):
            database.run(lambda connection: connection.execute("SELECT 1"))
    stopper.join()
    assert [line["event"] for line in logs] == ["database_away"]


async def test_an_outage_that_only_an_impatient_user_saw_ends_with_the_next_answer_to_anybody(
    database_url: str,
) -> None:
    async def work(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute("SELECT 1")

    outage = Outage("database")
    impatient = AsyncDatabase(f"postgresql://nobody@127.0.0.1:{free_port()}/none", outage)
    waiting = AsyncDatabase(f"postgresql://nobody@127.0.0.1:{free_port()}/none", outage)
    threads, loops = Database(database_url, outage, Event()), AsyncDatabase(database_url, outage)
    for answered in (lambda: asyncio.to_thread(threads.run, lambda c: c.execute("SELECT 1")), lambda: loops.run(work)):
        with pytest.raises(psycopg.OperationalError):
            await impatient.run(work, patient=False)
        assert outage.is_away
        await answered()
        assert not outage.is_away

    patient = asyncio.create_task(waiting.run(work))
    async with asyncio.timeout(10):
        while not outage.is_away:
            await asyncio.sleep(0)
    await loops.run(work)
    assert outage.is_away, "it does not come and go while somebody waits"
    await end_tasks([patient])
    await loops.run(work)
    assert not outage.is_away
    threads.close()
    await loops.close()


def test_an_interrupt_ends_a_wait_for_the_servers_answer(database_url: str) -> None:
    halt, waits = Event(), Event()
    database = Database(database_url, Outage("database"), halt)

    def work(connection: psycopg.Connection[Any]) -> None:
        waits.set()
        connection.execute("SELECT pg_sleep(60)")

    def interrupt() -> None:
        waits.wait(10)
        halt.set()
        while not ended.wait(0.1):  # the statement may not be on its way yet
            database.interrupt()

    ended, interrupter = Event(), threading.Thread(target=interrupt)
    interrupter.start()
    began = time.monotonic()
    with pytest.raises(Shutdown):
        database.run(work)
    ended.set()
    interrupter.join()
    assert time.monotonic() - began < 20
    database.close()


@pytest.mark.parametrize("connect", [in_thread, in_loop])
def test_of_several_hosts_the_one_that_answers_is_used(
    connect: Callable[[str], tuple[Run, Callable[[], None]]], database_url: str
) -> None:
    several = database_url.replace("@127.0.0.1:", f"@127.0.0.1:{free_port()},127.0.0.1:")
    run, close = connect(f"{several}?target_session_attrs=read-write")
    assert run("SELECT 1") == 1
    terminate(database_url, run("SELECT pg_backend_pid()"))
    assert run("SELECT 2") == 2
    close()


async def test_pipelined_work_fails_with_its_first_error_and_leaves_nothing(database_url: str) -> None:
    database = AsyncDatabase(database_url, Outage("database"))

    async def work(connection: psycopg.AsyncConnection[Any]) -> Any:
        await connection.execute("CREATE TABLE pipelined (n int)")
        await connection.execute("SELECT 1 / 0")
        await connection.execute("SELECT no_such_column")
        cursor = await connection.execute("SELECT 1")
        return await cursor.fetchone()

    async def unread(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute("CREATE TABLE pipelined (n int)")
        await connection.execute("SELECT 1 / 0")

    async def table(connection: psycopg.AsyncConnection[Any]) -> Any:
        return await (await connection.execute("SELECT to_regclass('pipelined')")).fetchone()

    for failing in (work, unread):
        with pytest.raises(DivisionByZero):
            await database.run(failing, pipelined=True)
        assert await database.run(table, pipelined=True) == (None,)
    await database.close()


def test_a_transaction_that_is_idle_for_too_long_ends_and_is_repeated(database_url: str) -> None:
    database = Database(database_url, Outage("database"), Event(), idle_in_transaction_s=0.1)
    sessions: list[int] = []

    def is_gone(pid: int) -> bool:
        with psycopg.connect(database_url) as other:
            return other.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is None

    def work(connection: psycopg.Connection[Any]) -> int:
        sessions.append(_first(connection.execute("SELECT pg_backend_pid()").fetchone()))
        if len(sessions) == 1:
            wait_until(lambda: is_gone(sessions[0]), "the end of the idle session")
        return int(_first(connection.execute("SELECT 7").fetchone()))

    assert database.run(work) == 7
    database.close()
    assert len(sessions) == 2


@pytest.mark.parametrize("state", ["25P03", "57P01"])
def test_the_server_is_at_fault_if_it_ends_a_session(state: str) -> None:
    assert fault_of(psycopg.errors.lookup(state)("")) is Fault.SERVER
