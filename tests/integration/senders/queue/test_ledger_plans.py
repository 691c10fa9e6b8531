"""How many rows begins and answers read, while a queue grows under plans that were made when it was short."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from drivers.ledger_attempts import MINE, NOW, admit, change, own, start, take
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from schemas.vocabulary import LedgerState
from senders.policy.recipients import AddressHasher
from senders.policy.send_check import SendCheck
from senders.queue import transitions
from senders.queue.ledger import DueCommand

pytestmark = pytest.mark.servers


async def test_mails_begin_and_end_without_a_scan_of_a_queue_that_was_short_before(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    await own(connection, MINE)
    database = AsyncDatabase(database_url, Outage("database"))

    async def work(each: AsyncConnection[Any]) -> int:
        [due] = await take(each, limit=1)
        assert await transitions.begin(each, [start(due)], MINE) == {due.command.id}
        assert await transitions.answer(each, [change(due, LedgerState.ACCEPTED)], MINE) == {due.command.id}
        cursor = await each.execute("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'ledger_queue'")
        [[rows]] = await cursor.fetchall()
        return int(rows)

    for _ in range(12):  # by then a server keeps its plans
        admit(database_url, a_command("u1", "hash"))
        await database.run(work)
    admit(database_url, *[a_command("u1", "hash") for _ in range(2000)])
    assert await database.run(work) == 0
    await database.close()


async def test_what_is_planned_once_for_short_tables_reads_no_more_rows_of_long_ones(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    await own(connection, MINE)
    database = AsyncDatabase(database_url, Outage("database"), planned_once=True)
    check = SendCheck(AddressHasher(b"key"), timedelta(seconds=5))

    async def rows_read(each: AsyncConnection[Any], due: DueCommand) -> int:
        await check(each, [start(due)])
        assert await transitions.begin(each, [start(due)], MINE) == {due.command.id}
        back = change(due, LedgerState.ADMITTED, next_attempt_at=NOW)
        assert await transitions.take_back(each, [back], MINE) == {due.command.id}
        waits = change(due, LedgerState.ADMITTED, attempt=0, next_attempt_at=NOW)
        assert await transitions.postpone(each, [waits]) == {due.command.id}
        assert await transitions.begin(each, [start(due)], MINE) == {due.command.id}
        assert await transitions.answer(each, [change(due, LedgerState.ACCEPTED)], MINE) == {due.command.id}
        cursor = await each.execute(
            """SELECT sum(seq_tup_read + idx_tup_fetch)::int FROM pg_stat_xact_user_tables
               WHERE relname IN ('ledger_queue', 'recipients')"""
        )
        [[rows]] = await cursor.fetchall()
        return int(rows)

    for _ in range(12):
        admit(database_url, a_command("u1", "hash"))
        [due] = await take(connection)
        await database.run(partial(rows_read, due=due))
    admit(database_url, *[a_command("u1", "hash") for _ in range(2000)])
    await connection.execute(
        "INSERT INTO recipients (user_id, known_at) SELECT 'u' || n, now() FROM generate_series(2, 2001) AS n"
    )
    [due] = await take(connection, limit=1)
    assert await database.run(partial(rows_read, due=due)) < 100
    await database.close()
