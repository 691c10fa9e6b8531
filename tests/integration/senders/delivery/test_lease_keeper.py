"""Renewals of a lease do not wait for the search of the queue for what lost workers began, however long it is."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from senders.delivery.lease_keeper import LeaseKeeper
from senders.delivery.ownership import PartitionOwnership
from senders.queue import leases, ledger
from senders.queue.leases import LostWorkers
from senders.queue.ledger import Admission
from senders.queue.ledger_clock import LedgerClock
from senders.queue.observer import LedgerObserver
from senders.settings import SenderSettings

pytestmark = pytest.mark.servers

COUNT = 60
LEASE = timedelta(seconds=15)
STARTED = "SELECT count(*) FROM ledger_queue WHERE state = 'started'"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A queue of several blocks, all begun by a worker that ended its lease."""
    commands = [a_command("u1", "h", data={"text": "x" * 500}) for _ in range(COUNT)]
    with psycopg.connect(database_url, autocommit=True) as intake:
        ledger.admit(intake, [Admission.of(0, command) for command in commands], commands[0].decided_at)
    async with await AsyncConnection.connect(database_url, autocommit=True) as open_connection:
        await open_connection.execute("UPDATE ledger_queue SET state = 'started', owner = 'dead', attempt = 1")
        await open_connection.execute("INSERT INTO ledger_workers VALUES ('dead', '-infinity', now())")
        yield open_connection


async def one(connection: AsyncConnection[Any], query: str) -> Any:
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return row[0]


async def lost_workers(connection: AsyncConnection[Any]) -> LostWorkers:
    found = await leases.lost_workers(connection, "ours", LEASE)
    assert found is not None
    return found


@pytest.fixture
async def keeper(database_url: str) -> AsyncIterator[LeaseKeeper]:
    database = AsyncDatabase(database_url, Outage("timescale"))
    yield LeaseKeeper(
        SenderSettings(suppression_key="a secret of the tests alone", database_url=database_url),
        database=database,
        owner="ours",
        ownership=PartitionOwnership(1.0),
        clock=LedgerClock(),
        on_doubt=lambda: None,
        observer=LedgerObserver(),
        watchdog=Watchdog(),
    )
    await database.close()


async def test_a_renewal_counts_while_the_search_waits_and_holds_no_other_worker_up(
    connection: AsyncConnection[Any], database_url: str, keeper: LeaseKeeper
) -> None:
    async with await AsyncConnection.connect(database_url) as other:
        await other.execute("SELECT FROM ledger_queue FOR UPDATE")
        renewing = asyncio.create_task(keeper.renew())
        waiting = """SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        async with asyncio.timeout(30):
            while not await one(connection, waiting):
                await asyncio.sleep(0.02)
        assert await one(connection, "SELECT count(*) FROM ledger_workers WHERE owner = 'ours' AND lease_until > now()")
        assert await leases.lost_workers(connection, "another", LEASE) is None, "this one judges it"
    await renewing
    assert await one(connection, STARTED) == 0
    assert await one(connection, "SELECT count(*) FROM ledger_outbox") == COUNT


async def test_a_long_queue_is_searched_part_by_part(
    connection: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BLOCKS", 2)
    lost: LostWorkers | None = await lost_workers(connection)
    counts = []
    while lost is not None:
        assert await one(connection, "SELECT count(*) FROM ledger_workers WHERE owner = 'dead'") == 1
        count, lost = await leases.mark_in_doubt(connection, lost, ["marketing"])
        counts.append(count)
    assert sum(counts) == COUNT
    assert max(counts) < COUNT
    assert await one(connection, "SELECT count(*) FROM ledger_workers WHERE owner = 'dead'") == 0
    assert await one(connection, "SELECT count(*) FROM ledger_queue WHERE state = 'in_doubt'") == COUNT


async def test_a_worker_that_wakes_up_during_the_search_keeps_the_rest(
    connection: AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BLOCKS", 2)
    count, lost = await leases.mark_in_doubt(connection, await lost_workers(connection), [])
    assert lost is not None
    await leases.renew(connection, "dead", LEASE)
    assert await leases.mark_in_doubt(connection, lost, []) == (0, None)
    assert await one(connection, STARTED) == COUNT - count > 0
    await leases.end(connection, "dead")
    left: LostWorkers | None = await lost_workers(connection)
    while left is not None:
        _, left = await leases.mark_in_doubt(connection, left, [])
    assert await one(connection, STARTED) == 0, "it is judged anew from the first block"
