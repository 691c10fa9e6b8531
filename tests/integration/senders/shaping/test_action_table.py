"""Actions of rules for all workers, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from senders.shaping import action_table
from senders.shaping.actions import HOUR_US, ActionBook, ActiveAction
from senders.shaping.document import ActionKind
from senders.shaping.quantities import SendRate

pytestmark = pytest.mark.servers

NOW_US = 1_800_000_000_000_000
LANE = ("lane", "one", "mx.example")
SUSPENDED = ActiveAction(
    LANE, ActionKind.SUSPEND, "default.automation[0]", NOW_US, NOW_US + HOUR_US, reply="421 4.7.0 no"
)
SLOWED = ActiveAction(
    LANE,
    ActionKind.SET,
    "default.automation[1]",
    NOW_US,
    NOW_US + HOUR_US,
    {"max_message_rate": SendRate(1, 60), "retry_interval": timedelta(minutes=5), "connection_limit": 1},
)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


async def test_another_worker_reads_what_one_has_written(connection: AsyncConnection[Any]) -> None:
    await action_table.write(connection, [SUSPENDED, SLOWED])

    changes = await action_table.read(connection, 0)

    assert {change.action.id: change.action for change in changes} == {
        SUSPENDED.id: SUSPENDED,
        SLOWED.id: SLOWED,
    }
    assert await action_table.read(connection, changes[-1].number) == []


async def test_an_action_gets_a_later_end_and_never_an_earlier_one(connection: AsyncConnection[Any]) -> None:
    later = ActiveAction(LANE, SUSPENDED.kind, SUSPENDED.rule, NOW_US, NOW_US + 2 * HOUR_US)
    for action in (SUSPENDED, later, SUSPENDED):
        await action_table.write(connection, [action])

    [change] = await action_table.read(connection, 0)

    assert change.action.until_us == later.until_us


async def test_a_lifted_action_is_read_as_lifted_unless_it_was_renewed(connection: AsyncConnection[Any]) -> None:
    await action_table.write(connection, [SUSPENDED, SLOWED])
    await action_table.lift(connection, [SUSPENDED])
    assert {change.action.id: change.lifted for change in await action_table.read(connection, 0)} == {
        SUSPENDED.id: True,
        SLOWED.id: False,
    }

    renewed = ActiveAction(LANE, SUSPENDED.kind, SUSPENDED.rule, NOW_US, NOW_US + 3 * HOUR_US)
    await action_table.write(connection, [renewed])
    await action_table.lift(connection, [SUSPENDED])

    assert [change.lifted for change in await action_table.read(connection, 0)] == [False, False]


async def test_what_ended_long_ago_is_deleted(connection: AsyncConnection[Any]) -> None:
    await action_table.write(connection, [SUSPENDED])

    await action_table.forget(connection, SUSPENDED.until_us + 23 * HOUR_US)
    assert len(await action_table.read(connection, 0)) == 1

    await action_table.forget(connection, SUSPENDED.until_us + 25 * HOUR_US)
    assert await action_table.read(connection, 0) == []


async def test_a_reader_sees_changes_in_the_order_of_their_numbers(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    """So it reads on after the last number, and misses nothing."""

    async def write_slowed() -> None:
        async with await AsyncConnection.connect(database_url) as other:
            await action_table.write(other, [SLOWED])

    async with await AsyncConnection.connect(database_url) as first:
        await action_table.write(first, [SUSPENDED])
        writing = asyncio.create_task(write_slowed())
        await asyncio.wait([writing], timeout=0.3)
        assert not writing.done(), "it waits for its turn"
        assert await action_table.read(connection, 0) == []
    await writing

    changes = await action_table.read(connection, 0)
    assert [change.action.id for change in changes] == [SUSPENDED.id, SLOWED.id]


async def test_a_book_follows_the_changes(connection: AsyncConnection[Any]) -> None:
    book = ActionBook()
    await action_table.write(connection, [SUSPENDED])
    changes = await action_table.read(connection, 0)
    book.follow(changes[0].action, lifted=changes[0].lifted)
    assert book.stops([LANE], ActionKind.SUSPEND, NOW_US) == SUSPENDED

    await action_table.lift(connection, [SUSPENDED])
    [change] = await action_table.read(connection, changes[-1].number)
    book.follow(change.action, lifted=change.lifted)

    assert book.stops([LANE], ActionKind.SUSPEND, NOW_US) is None
