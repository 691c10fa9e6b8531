"""Links that no mail has had for long are removed; those in use stay, however long ago they were stored first."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import wait_until
from psycopg import AsyncConnection
from structlog.testing import capture_logs

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from senders.queue import link_sweep, link_targets
from senders.queue.link_sweep import LinkSweep
from senders.queue.link_targets import KnownLinks

pytestmark = pytest.mark.servers

KEPT = timedelta(days=400)
OLD = """INSERT INTO links (id, url, stored_at)
    SELECT int8send(n), 'https://shop.example/' || n, now() - interval '401 days' FROM generate_series(1, 9) AS n"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[AsyncDatabase]:
    opened = AsyncDatabase(database_url, Outage("ledger"))
    await opened.run(lambda connection: connection.execute(OLD))
    yield opened
    await opened.close()


def link(number: int) -> dict[bytes, str]:
    return {number.to_bytes(8, "big"): f"https://shop.example/{number}"}


async def ids(database: AsyncDatabase) -> list[int]:
    cursor = await database.run(lambda connection: connection.execute("SELECT id FROM links ORDER BY id"))
    return [int.from_bytes(id_, "big") for (id_,) in await cursor.fetchall()]


async def test_what_no_mail_has_had_for_long_is_removed_in_steps(
    database: AsyncDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_sweep, "STEP", 2)
    await database.run(lambda connection: link_targets.store(connection, link(3) | link(7) | link(12)))
    with capture_logs() as logs:
        assert await LinkSweep(database, lambda: [0], KEPT).sweep() == 7
        assert await LinkSweep(database, lambda: [0], KEPT).sweep() == 0
    assert await ids(database) == [3, 7, 12]
    assert [(line["event"], line["count"]) for line in logs] == [("links_removed", 7)]


async def test_a_mail_that_begins_while_its_old_link_is_removed_has_its_link(
    database: AsyncDatabase, database_url: str
) -> None:
    """The statement that stores it waits for the removal."""
    other = AsyncDatabase(database_url, Outage("ledger"))

    async def remove_and_store(connection: AsyncConnection[Any]) -> None:
        await link_targets.remove_unused(connection, KEPT, 9)
        storing.append(asyncio.create_task(other.run(lambda ours: link_targets.store(ours, link(5)))))
        await asyncio.to_thread(wait_until, lambda: waits_for_a_lock(database_url), "the wait for the removal")

    storing: list[asyncio.Task[None]] = []
    await database.run(remove_and_store)
    await storing[0]
    assert await ids(database) == [5]
    await other.close()


def waits_for_a_lock(url: str) -> bool:
    with psycopg.connect(url) as connection:
        query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return connection.execute(query).fetchone() is not None


async def test_what_is_stored_again_on_the_same_day_is_not_written_again(database: AsyncDatabase) -> None:
    version = "SELECT xmin::text, xmax::text, ctid::text FROM links WHERE id = int8send(3)"

    async def stored() -> object:
        await database.run(lambda connection: link_targets.store(connection, link(3)))
        return await (await database.run(lambda connection: connection.execute(version))).fetchall()

    assert await stored() == await stored()


def test_a_process_stores_what_it_knows_again_after_some_hours() -> None:
    known = KnownLinks()
    known.forget_old(100.0)
    known.add(link(1))
    known.forget_old(100.0 + link_targets.FRESH_S - 1)
    assert known.missing([link(1)]) == {}
    known.forget_old(100.0 + link_targets.FRESH_S)
    assert known.missing([link(1)]) == link(1)
