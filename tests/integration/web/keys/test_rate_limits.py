"""A key's limit over three workers on a real PostgreSQL, each with threads and connections of its own."""

import asyncio
import threading
import time
from datetime import UTC, datetime

import psycopg
import pytest
from drivers.database_outage import database_away
from drivers.real_servers import RealServers
from psycopg import AsyncConnection
from psycopg.errors import IdleInTransactionSessionTimeout
from structlog.testing import capture_logs

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from web.keys import key_table, share_table
from web.keys.key_store import KeyStore
from web.keys.key_table import KeyRow
from web.keys.rate_limiter import RateLimiter
from web.keys.secret import hash_of
from web.keys.write_key import KeyClass

pytestmark = pytest.mark.servers

LIMIT = 200.0
ROUNDS_S = 3.3
"""After so long each worker knows what the others want, and what they gave up is free."""
MEASURED_S = 2.3


@pytest.fixture
def url(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        row = KeyRow("limited", KeyClass.SERVER, "backend", (), LIMIT, datetime.now(UTC))
        key_table.add(connection, row, hash_of("limited"), "ada")
        free = KeyRow("free", KeyClass.SERVER, "backend", (), None, datetime.now(UTC))
        key_table.add(connection, free, hash_of("free"), "ada")
    return database_url


class RateWorker:
    """A worker in a thread: it takes an event whenever its limiter lets it, while `busy`."""

    def __init__(self, url: str, name: str) -> None:
        self.busy = True
        self.taken: list[float] = []
        self._url, self._name, self._stop = url, name, threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.thread.start()

    def stop(self) -> None:
        self._stop.set()
        self.thread.join()

    async def _run(self) -> None:
        database = AsyncDatabase(self._url, Outage("ledger"))
        keys = KeyStore(database)
        limiter = RateLimiter(database, keys, self._name)
        await keys.load()
        await limiter.trade()
        trading = asyncio.create_task(limiter.run())
        key = keys.find("limited")
        assert key is not None
        while not self._stop.is_set():
            while self.busy and limiter.allow(key, 1) == 0:
                self.taken.append(time.monotonic())
            await asyncio.sleep(0.002)
        trading.cancel()
        await limiter.leave()
        await database.close()


def most_in_a_second(times: list[float]) -> int:
    times, first, most = sorted(times), 0, 0
    for last, at_s in enumerate(times):
        while times[first] <= at_s - 1:
            first += 1
        most = max(most, last + 1 - first)
    return most


def used_share(taken: list[float], since_s: float) -> float:
    """How much of the limit was used, while a second's worth of it was: so a whole burst is counted."""
    times, count = sorted(at_s for at_s in taken if at_s >= since_s), int(LIMIT)
    return count / (times[count] - times[0]) / LIMIT if len(times) > count else 0.0


def test_three_workers_keep_a_limit_and_use_it_whoever_has_the_callers(url: str) -> None:
    workers = [RateWorker(url, f"worker-{number}") for number in range(3)]
    used = []
    try:
        for busy in (3, 1):
            for number, worker in enumerate(workers):
                worker.busy = number < busy
            time.sleep(ROUNDS_S)
            begun_s = time.monotonic()
            time.sleep(MEASURED_S)
            used.append(used_share([at_s for worker in workers for at_s in list(worker.taken)], begun_s))
    finally:
        for worker in workers:
            worker.stop()

    assert most_in_a_second([at_s for worker in workers for at_s in worker.taken]) <= LIMIT * 1.02
    assert min(used) >= 0.95


async def test_a_key_without_a_limit_costs_no_row_and_no_wait(url: str) -> None:
    database = AsyncDatabase(url, Outage("ledger"))
    keys = KeyStore(database)
    await keys.load()
    limiter = RateLimiter(database, keys, "one")
    await limiter.trade()
    free = keys.find("free")
    await database.close()

    assert free is not None
    assert limiter.allow(free, 1_000_000) == 0
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT key_id FROM rate_shares").fetchall() == [("limited",)]


async def test_where_no_key_has_a_limit_nothing_is_traded(url: str) -> None:
    with psycopg.connect(url) as connection:
        key_table.revoke(connection, "limited", datetime.now(UTC), "ada")
    database = AsyncDatabase(url, Outage("ledger"))
    keys = KeyStore(database)
    await keys.load()
    await RateLimiter(database, keys, "one").trade()
    await database.close()

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM rate_workers").fetchone() == (0,)


async def test_while_postgresql_is_away_a_worker_goes_on_with_its_share(servers: RealServers, url: str) -> None:
    database = AsyncDatabase(url, Outage("ledger"))
    keys, now_s = KeyStore(database), [0.0]
    await keys.load()
    limiter = RateLimiter(database, keys, "one", lambda: now_s[0])
    await limiter.trade()
    key = keys.find("limited")
    assert key is not None
    assert limiter.allow(key, 200) == 0
    with database_away(servers, url) as give_back, capture_logs() as logs:
        trading = asyncio.create_task(limiter.trade())
        while not logs:
            await asyncio.sleep(0.02)
        assert limiter.allow(key, 200) > 0
        now_s[0] += 1
        assert limiter.allow(key, 200) == 0
        give_back()
        await trading
    await database.close()


async def test_what_a_worker_leaves_is_anothers_a_window_later(url: str) -> None:
    database = AsyncDatabase(url, Outage("ledger"))
    keys = KeyStore(database)
    await keys.load()
    one, other = (RateLimiter(database, keys, name) for name in ("one", "other"))
    await one.trade()
    await one.leave()
    await other.trade()
    key = keys.find("limited")
    assert key is not None
    before = other.allow(key, 1)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE rate_shares SET changed_at = changed_at - interval '1 second'")
    await other.trade()
    await database.close()

    assert before > 0
    assert other.allow(key, 198) == 0


async def test_a_worker_whose_lease_has_ended_is_forgotten(url: str) -> None:
    database = AsyncDatabase(url, Outage("ledger"))
    keys = KeyStore(database)
    await keys.load()
    dead, alive = (RateLimiter(database, keys, name) for name in ("dead", "alive"))
    await dead.trade()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE rate_workers SET lease_until = lease_until - interval '1 minute'")
    await alive.trade()
    key = keys.find("limited")
    await database.close()

    assert key is not None
    assert alive.allow(key, 200) == 0
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT worker FROM rate_shares").fetchall() == [("alive",)]


async def test_a_worker_that_stands_still_while_it_trades_holds_up_the_others_for_two_seconds(url: str) -> None:
    database = AsyncDatabase(url, Outage("ledger"))
    keys = KeyStore(database)
    await keys.load()
    still = await AsyncConnection.connect(url)
    await share_table.look(still, "still")
    async with asyncio.timeout(10):
        await RateLimiter(database, keys, "other").trade()

    with pytest.raises(IdleInTransactionSessionTimeout):  # which its own trade takes for a statement that timed out
        await still.execute("SELECT 1")
    await still.close()
    await database.close()
