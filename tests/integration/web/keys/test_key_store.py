"""The keys that a worker knows, as commands change them on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from drivers.database_outage import database_away
from drivers.real_servers import RealServers
from structlog.testing import capture_logs

from infra.postgres.database import AsyncDatabase
from infra.postgres.migrate import MigrationError
from infra.service.outages import Outage
from web.keys import key_table
from web.keys.key_store import KeyStore
from web.keys.key_table import KeyRow
from web.keys.secret import hash_of
from web.keys.write_key import KeyClass, WriteKey

pytestmark = pytest.mark.servers

NOW = datetime.now(UTC)
BROWSER = KeyRow("one", KeyClass.BROWSER, "shop-web", ("https://shop.example",), 500.0, NOW)


class StandingClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.s = NOW.timestamp()

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def store(database_url: str, clock: StandingClock) -> AsyncIterator[KeyStore]:
    database = AsyncDatabase(database_url, Outage("ledger"))
    yield KeyStore(database, clock)
    await database.close()


def add(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        key_table.add(connection, BROWSER, hash_of("secret"), "ada")


async def test_a_key_is_found_by_its_secret_alone(store: KeyStore, database_url: str) -> None:
    add(database_url)
    await store.load()

    assert store.find("secret") == WriteKey("one", KeyClass.BROWSER, "shop-web", ("https://shop.example",), 500.0)
    assert [store.find(each) for each in ("", "Secret", "one", "\ud800", "s" * 10_000_000)] == [None] * 5


async def test_a_revoked_key_is_unknown_after_the_next_read(store: KeyStore, database_url: str) -> None:
    add(database_url)
    await store.load()
    with psycopg.connect(database_url) as connection:
        key_table.revoke(connection, "one", datetime.now(UTC), "ada")
    await store.load()

    assert store.find("secret") is None
    assert store.keys == []


async def test_a_replaced_key_is_valid_until_its_end_without_another_read(
    store: KeyStore, database_url: str, clock: StandingClock
) -> None:
    add(database_url)
    successor = KeyRow("two", KeyClass.BROWSER, "shop-web", BROWSER.origins, 500.0, NOW, replaces="one")
    with psycopg.connect(database_url) as connection:
        key_table.rotate(connection, successor, hash_of("new"), NOW + timedelta(hours=24), "ada")
    await store.load()

    both = [store.find("secret"), store.find("new")]
    clock.s += 24 * 3600
    assert [key and key.id for key in both] == ["one", "two"]
    assert store.find("secret") is None
    assert store.find("new") == both[1]


def test_a_rotation_does_not_put_off_an_earlier_end(database_url: str) -> None:
    add(database_url)
    with psycopg.connect(database_url) as connection:
        for number, hours in (("two", 1), ("three", 24)):
            successor = KeyRow(number, KeyClass.SERVER, "s", (), None, NOW, replaces="one")
            key_table.rotate(connection, successor, hash_of(number), NOW + timedelta(hours=hours), "ada")
        [one] = [row for row in key_table.all_keys(connection) if row.id == "one"]
        actions = [change.action for change in key_table.history(connection, "one")]

    assert one.ends_at == NOW + timedelta(hours=1)
    assert actions == ["add", "rotate", "rotate"]


async def test_while_postgresql_is_away_the_last_keys_stay_valid_and_the_log_says_so_once(
    servers: RealServers, store: KeyStore, database_url: str
) -> None:
    add(database_url)
    await store.load()
    with database_away(servers, database_url) as give_back, capture_logs() as logs:
        reading = asyncio.create_task(store.load())
        while not logs:
            await asyncio.sleep(0.02)
        assert store.find("secret") is not None
        assert not reading.done()
        give_back()
        await reading
    assert [line["event"] for line in logs] == ["ledger_away", "ledger_back"]
    assert store.find("secret") is not None


async def test_a_database_without_the_table_names_the_next_step(empty_database_url: str) -> None:
    database = AsyncDatabase(empty_database_url, Outage("ledger"))
    with pytest.raises(MigrationError, match="ebbtide migrate"):
        await KeyStore(database).load()
    await database.close()
