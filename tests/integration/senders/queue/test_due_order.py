"""Finding what is due: by priority, each row once for each time it becomes due, whatever else the queue holds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from schemas.vocabulary import LedgerState
from senders.queue import ledger, transitions
from senders.queue.due_order import WHOLE_S, DueOrder
from senders.queue.ledger import Admission, DueStatus, QueueClass
from senders.queue.transitions import StateChange

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)


def admit(database_url: str, priority: int, at: datetime = NOW, partition: int = 0, count: int = 1) -> list[str]:
    commands = [a_command("u1", "h", priority=priority) for _ in range(count)]
    with psycopg.connect(database_url, autocommit=True) as connection:
        ledger.admit(connection, [Admission.of(partition, command) for command in commands], at)
    return [command.id for command in commands]


async def begun(connection: AsyncConnection[Any]) -> DueOrder:
    order = DueOrder()
    order.expect([0], 0.0)
    order.begin(await ledger.queue_classes(connection, [0]))
    return order


async def find(
    connection: AsyncConnection[Any], order: DueOrder, now: datetime = NOW, limit: int = 10, above: int | None = None
) -> list[DueStatus]:
    """What the scheduler reads next. What it has read is ended, as `accepted` would be."""
    found = await ledger.due_commands(connection, order.after(above), [], now, limit)
    order.read(found)
    return found


async def end(connection: AsyncConnection[Any], found: list[DueStatus]) -> None:
    await transitions.settle(
        connection, [StateChange(each.command_id, each.attempt, LedgerState.EXPIRED, NOW) for each in found]
    )


async def test_the_highest_priority_is_read_first_then_what_became_due_first(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    [young] = admit(database_url, 50, NOW - timedelta(seconds=1))
    [old] = admit(database_url, 50, NOW - timedelta(seconds=2))
    [low] = admit(database_url, 10, NOW - timedelta(seconds=99))
    [high] = admit(database_url, 90)
    admit(database_url, 99, partition=1)
    order = await begun(connection)
    assert [each.command_id for each in await find(connection, order, above=50)] == [high]
    order = await begun(connection)
    assert [each.command_id for each in await find(connection, order)] == [high, old, young, low]


async def test_a_backlog_is_read_once_in_order_and_a_higher_priority_overtakes_it(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    backlog = {
        id_ for age in range(10, 0, -1) for id_ in admit(database_url, 50, NOW - timedelta(seconds=age), count=5)
    }
    order, read = await begun(connection), list[str]()
    first = await find(connection, order, limit=20)
    await end(connection, first)
    [urgent] = admit(database_url, 90)
    order.rewind(QueueClass(0, 90), NOW)
    second = await find(connection, order, limit=20)
    assert second[0].command_id == urgent
    await end(connection, second)
    read = [each.command_id for each in first + second]
    while found := await find(connection, order, limit=20):
        await end(connection, found)
        read += [each.command_id for each in found]
    assert sorted(read) == sorted({*backlog, urgent}), "each once"


async def test_rows_that_were_passed_are_not_looked_at_until_they_are_due_again(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    [waiting] = admit(database_url, 50)
    order = await begun(connection)
    [found] = await find(connection, order)
    wait = StateChange(waiting, 0, LedgerState.ADMITTED, NOW, reason="consent_stale", next_attempt_at=LATER)
    await transitions.postpone(connection, [wait])
    assert await find(connection, order) == []
    [again] = await find(connection, order, now=LATER)
    assert again.command_id == found.command_id


async def test_what_is_let_go_or_comes_late_is_found_after_a_rewind_or_a_reading_of_the_whole(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    admit(database_url, 50)
    order = await begun(connection)
    await end(connection, await find(connection, order))
    [late] = admit(database_url, 50, NOW - timedelta(seconds=5))
    assert await find(connection, order) == []
    assert order.is_known([0], WHOLE_S - 1)
    assert not order.is_known([0], WHOLE_S)
    order.rewind(QueueClass(0, 50), NOW - timedelta(seconds=5))
    assert [each.command_id for each in await find(connection, order)] == [late]


async def test_what_is_let_go_or_admitted_while_others_are_read_is_found_the_next_time(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    [early] = admit(database_url, 50, NOW - timedelta(seconds=5))
    admit(database_url, 50)
    order = await begun(connection)
    found = await ledger.due_commands(connection, order.after(), [], NOW, 10)
    order.rewind(found[0].queue_class, found[0].due_at)
    order.read(found)
    await end(connection, found[1:])
    again = await ledger.due_commands(connection, order.after(), [], NOW, 10)
    assert [each.command_id for each in again] == [early]
    [between] = admit(database_url, 50, NOW - timedelta(seconds=2))
    order.rewind(QueueClass(0, 50), NOW - timedelta(seconds=2))
    order.read(again)
    await end(connection, again)
    assert [each.command_id for each in await find(connection, order)] == [between]


async def test_what_is_admitted_while_the_classes_are_found_is_read(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    order = DueOrder()
    order.expect([0], 0.0)
    classes = await ledger.queue_classes(connection, [0])
    assert not order.is_known([0], 0.0)
    [new] = admit(database_url, 50)
    order.rewind(QueueClass(0, 50), NOW)
    order.begin(classes)
    assert order.is_known([0], 0.0)
    assert [each.command_id for each in await find(connection, order)] == [new]


async def test_a_demand_to_begin_again_counts_also_while_the_classes_are_found(
    connection: AsyncConnection[Any],
) -> None:
    order = DueOrder()
    order.expect([0], 0.0)
    order.begin_again()
    order.begin(await ledger.queue_classes(connection, [0]))
    assert not order.is_known([0], 0.0)


async def test_commands_are_what_ended_what_waits_and_what_is_in_doubt(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    admit(database_url, 50, count=7)
    order = await begun(connection)
    await end(connection, await find(connection, order, limit=3))
    await connection.execute(
        """UPDATE ledger_queue SET state = 'in_doubt'
           WHERE command_id IN (SELECT command_id FROM ledger_queue LIMIT 2)"""
    )
    cursor = await connection.execute("SELECT commands, terminal, waiting, in_doubt FROM v_delivery_balance")
    assert await cursor.fetchone() == (7, 3, 2, 2)
