"""The ledger's partitions: made ahead, dropped once they are old, and kept while somebody needs them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from senders.queue import retention

pytestmark = pytest.mark.servers

OLD = datetime.now(UTC) - retention.RETENTION - timedelta(days=2)
NAME = f"ledger_outcomes_{OLD:%Y%m%d}"
OUTCOME = """INSERT INTO ledger_outcomes (recorded_at, admitted_at, state_at, command_id, partition, attempt, hard,
                                          state, user_id, trigger, purpose)
             VALUES (%(at)s, %(at)s, %(at)s, gen_random_uuid(), 0, 1, false, 'accepted', 'u1', 'hello', 'marketing')"""


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A ledger that has a partition and an outcome of an old day."""
    async with await AsyncConnection.connect(database_url, autocommit=True) as open_connection:
        await open_connection.execute("SELECT ledger_add_partitions(%s::date, %s::date)", [OLD, OLD])
        await open_connection.execute(OUTCOME, {"at": OLD})
        yield open_connection


async def keep(connection: AsyncConnection[Any]) -> dict[str, str | None]:
    async with connection.transaction():
        return await retention.keep_partitions(connection)


async def tables(connection: AsyncConnection[Any]) -> set[str]:
    cursor = await connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'ledger_%'")
    return {name async for (name,) in cursor}


async def test_old_days_are_dropped_and_days_to_come_are_there(connection: AsyncConnection[Any]) -> None:
    assert NAME in await tables(connection)
    dropped = await keep(connection)
    assert dropped[NAME] is None
    there = await tables(connection)
    assert not there & dropped.keys()
    for days in range(8):
        assert f"ledger_outcomes_{datetime.now(UTC) + timedelta(days=days):%Y%m%d}" in there
    assert await keep(connection) == {}


async def test_a_day_with_unpublished_outcomes_stays(connection: AsyncConnection[Any]) -> None:
    outbox = "INSERT INTO ledger_outbox (recorded_at, partition, command_id) VALUES (%s, 0, gen_random_uuid())"
    await connection.execute(outbox, [OLD])
    assert (await keep(connection))[NAME] == "it has outcomes that are not published"
    assert NAME in await tables(connection)


async def test_a_day_that_another_session_reads_stays_until_the_next_time(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    with psycopg.connect(database_url) as analyst:
        analyst.execute("SELECT count(*) FROM ledger")
        assert (await keep(connection))[NAME] == "another session uses it"
        await connection.execute(OUTCOME, {"at": datetime.now(UTC)})
    assert (await keep(connection))[NAME] is None


async def test_a_way_is_deleted_once_no_outcome_can_have_it(connection: AsyncConnection[Any]) -> None:
    way = "INSERT INTO ledger_paths (path, used_on) VALUES (%s, %s)"
    for path, used in (("old", OLD - timedelta(days=1)), ("new", datetime.now(UTC))):
        await connection.execute(way, [path, used])

    await keep(connection)

    cursor = await connection.execute("SELECT path FROM ledger_paths")
    assert [path async for (path,) in cursor] == ["new"]


@pytest.mark.parametrize("join", ["hashjoin", "mergejoin", "nestloop"])
async def test_old_days_are_found_in_whatever_order_the_planner_reads(
    connection: AsyncConnection[Any], join: str
) -> None:
    """Also if it asks every relation for the date in its name before it asks whose partition that is."""
    for other in {"hashjoin", "mergejoin", "nestloop"} - {join}:
        await connection.execute(f"SET enable_{other} = off".encode())
    await connection.execute("ANALYZE pg_class, pg_inherits")
    assert (await keep(connection))[NAME] is None
