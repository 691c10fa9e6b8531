"""Lines in the ledger: their heads by priority and age, found behind what was read, and rows that are written once."""

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from psycopg import AsyncConnection, IsolationLevel

from schemas.vocabulary import DeliveryReason, LedgerState
from senders.queue import ledger, lines, transitions
from senders.queue.due_order import BEGINNING
from senders.queue.ledger import Admission, QueueClass
from senders.queue.lines import LineOrder, line_of
from senders.queue.transitions import StateChange

pytestmark = pytest.mark.servers

OPERATING = Path(__file__).parents[4] / "docs" / "operating.md"
NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
EXPIRES = NOW + timedelta(days=1)
SLOW, OTHER = line_of("one mx.slow.example"), line_of("one mx.other.example")


def admit(database_url: str, priority: int = 50, partition: int = 0) -> str:
    command = a_command("u1", "h", priority=priority)
    with psycopg.connect(database_url, autocommit=True) as connection:
        ledger.admit(connection, [Admission.of(partition, command)], NOW)
    return command.id


async def stand(connection: AsyncConnection[Any], command_id: str, line: int | None) -> None:
    change = StateChange(
        command_id, 0, LedgerState.ADMITTED, NOW, DeliveryReason.LIMITED, next_attempt_at=EXPIRES, behind=line
    )
    assert await transitions.postpone(connection, [change]) == {command_id}


async def heads(connection: AsyncConnection[Any], wanted: dict[int, int], *without: str) -> list[tuple[int, str]]:
    found = await lines.heads(connection, LineOrder(), [0, 1], wanted, without)
    return [(line, status.command_id) for line, status in found]


async def test_the_head_of_a_line_is_the_highest_priority_then_the_oldest_of_all_partitions(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    first, second, urgent = admit(database_url), admit(database_url, partition=1), admit(database_url, 90)
    elsewhere, other, free = admit(database_url, partition=2), admit(database_url), admit(database_url)
    for command_id in (second, elsewhere, first, urgent):
        await stand(connection, command_id, SLOW)
    await stand(connection, other, OTHER)
    await stand(connection, free, None)

    assert await lines.LineSearch().find(connection, [0, 1]) == sorted([SLOW, OTHER])
    assert await lines.LineSearch().find(connection, [2]) == [SLOW]
    assert await lines.LineSearch().find(connection, []) == []
    assert await heads(connection, {SLOW: 9}) == [(SLOW, urgent), (SLOW, first), (SLOW, second)]
    assert await heads(connection, {SLOW: 1, OTHER: 1}, urgent) == [(SLOW, first), (OTHER, other)]


async def test_what_stands_before_the_place_that_was_read_is_not_looked_at_until_a_rewind_or_a_new_beginning(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    order, early, late = LineOrder(), admit(database_url), admit(database_url)
    await stand(connection, late, SLOW)
    assert await read(connection, order) == [late]

    await stand(connection, early, SLOW)
    assert await read(connection, order) == [late], "nobody said that there is another before it"
    order.rewind(SLOW, QueueClass(0, 50), await admitted_at(connection, early))
    assert await read(connection, order) == [early, late]

    await stand(connection, early, None)
    assert await read(connection, order) == [late]
    await stand(connection, early, SLOW)
    order.begin_again()
    assert await read(connection, order) == [early, late]


async def test_what_is_let_go_while_others_are_read_is_found_the_next_time(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    order, early, late = LineOrder(), admit(database_url), admit(database_url)
    for command_id in (early, late):
        await stand(connection, command_id, SLOW)

    found = await lines.heads(connection, order, [0], {SLOW: 9}, [early])
    order.rewind(SLOW, QueueClass(0, 50), await admitted_at(connection, early))
    order.read(found)

    assert await read(connection, order) == [early, late]


async def test_partitions_that_came_are_read_from_their_beginning(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    order, here, there = LineOrder(), admit(database_url), admit(database_url, partition=1)
    for command_id in (here, there):
        await stand(connection, command_id, SLOW)
    assert await read(connection, order) == [here]
    assert await read(connection, order, [0, 1]) == [here, there]


async def test_the_head_of_a_line_costs_the_same_however_many_have_left_it_since_an_old_snapshot(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    order, most = LineOrder(), 0
    async with await AsyncConnection.connect(database_url) as analyst:
        await analyst.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await analyst.execute("SELECT count(*) FROM ledger_outbox")
        for _ in range(100):
            command_id = admit(database_url)
            await stand(connection, command_id, SLOW)
            before = await entries_read(connection)
            assert await read(connection, order) == [command_id]
            most = max(most, await entries_read(connection) - before)
            await transitions.settle(connection, [StateChange(command_id, 0, LedgerState.EXPIRED, NOW)])
    assert most < 10, "entries of the index that were stepped over for one head"


async def read(connection: AsyncConnection[Any], order: LineOrder, partitions: Collection[int] = (0,)) -> list[str]:
    found = await lines.heads(connection, order, partitions, {SLOW: 9}, [])
    order.read(found)
    return [status.command_id for _, status in found]


async def admitted_at(connection: AsyncConnection[Any], command_id: str) -> datetime:
    cursor = await connection.execute("SELECT admitted_at FROM ledger_queue WHERE command_id = %s", [command_id])
    row = await cursor.fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


async def entries_read(connection: AsyncConnection[Any]) -> int:
    """How many entries of the lines' index have been read, also those of rows that are gone."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    cursor = await connection.execute(
        "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'ledger_queue_line'"
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_a_command_in_a_line_is_due_at_its_expiry_and_leaves_the_line_with_its_next_answer(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    command_id = admit(database_url)
    await stand(connection, command_id, SLOW)
    after = {QueueClass(0, 50): BEGINNING}

    assert await ledger.due_commands(connection, after, [], EXPIRES - timedelta(seconds=1), 9) == []
    [due] = await ledger.due_commands(connection, after, [], EXPIRES, 9)
    [whole] = await ledger.read_commands(connection, [due])
    assert whole.behind == SLOW
    assert whole.due_at == whole.admitted_at, "it waits since then"

    await stand(connection, command_id, None)
    assert await heads(connection, {SLOW: 9}) == []
    assert await lines.LineSearch().find(connection, [0]) == []


async def test_where_there_are_more_lines_than_are_found_at_once_the_next_search_goes_on(
    connection: AsyncConnection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST_FOUND", 2)
    for line in (-5, 0, 7):
        for partition in (0, 1):
            await stand(connection, admit(database_url, partition=partition), line)
    search = lines.LineSearch()

    assert [await search.find(connection, [0, 1]) for _ in range(3)] == [[-5, 0], [7], [-5, 0]]


async def test_what_a_version_without_lines_has_answered_stands_in_no_line_although_its_column_says_so(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    command_id, later = admit(database_url), NOW + timedelta(minutes=1)
    await stand(connection, command_id, SLOW)
    await connection.execute("UPDATE ledger_queue SET reason = 'template_missing', next_attempt_at = %s", [later])

    assert await heads(connection, {SLOW: 9}) == []
    [due] = await ledger.due_commands(connection, {QueueClass(0, 50): BEGINNING}, [], later, 9)
    [whole] = await ledger.read_commands(connection, [due])
    assert (whole.behind, whole.due_at) == (None, later)


async def test_the_statement_for_the_way_back_lets_everything_in_lines_be_due(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    command_id, free = admit(database_url), admit(database_url)
    await stand(connection, command_id, SLOW)
    await stand(connection, free, None)
    [statement] = re.findall(r"^UPDATE ledger_queue .*;$", OPERATING.read_text(encoding="utf-8"), re.MULTILINE)

    await connection.execute(statement)

    cursor = await connection.execute("SELECT command_id, behind, now() - next_attempt_at FROM ledger_queue")
    rows = {key.hex: (line, since) async for key, line, since in cursor}
    line, since = rows[command_id]
    assert line is None
    assert timedelta(0) <= since < timedelta(minutes=1)
    assert rows[free] == (None, pytest.approx(datetime.now(UTC) - EXPIRES, abs=timedelta(minutes=1)))
