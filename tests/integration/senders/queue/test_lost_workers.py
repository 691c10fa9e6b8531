"""Leases in the ledger: which worker may begin, and what becomes of the mails that a lost one began."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from drivers.ledger_attempts import (
    LATER,
    LEASE,
    MINE,
    OTHER,
    admit,
    begin_one,
    change,
    grow_old,
    judge,
    lose,
    own,
    publish,
    row,
    start,
    take,
    unpublished,
)
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from schemas.vocabulary import LedgerState, OutcomeKind
from senders.queue import leases, transitions

pytestmark = pytest.mark.servers


async def test_commands_that_a_lost_worker_began_are_in_doubt_once_its_lease_has_ended(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begin_one(connection, database_url)
    await own(connection, OTHER)
    await grow_old(connection, OTHER)
    assert await judge(connection) == 0, "the worker that began a mail ends it"
    await connection.execute("UPDATE ledger_workers SET lease_until = now() WHERE owner = %s", [MINE])
    await own(connection, OTHER)
    assert await judge(connection) == 1
    state, attempt, _, next_at = await row(connection, due.command)
    assert (state, attempt, next_at) == ("in_doubt", 1, None)
    assert [message.outcome.kind for message in await unpublished(connection)] == [OutcomeKind.IN_DOUBT]


async def test_a_worker_that_ended_its_lease_leaves_its_mails_in_doubt_at_once(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    await begin_one(connection, database_url)
    await leases.end(connection, MINE)
    assert await judge(connection) == 1


async def test_a_worker_that_lost_the_partition_begins_nothing_there(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    await own(connection, MINE)
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    await own(connection, OTHER)
    assert await transitions.begin(connection, [start(due)], MINE) == set()
    assert (await row(connection, due.command))[:2] == ("admitted", 0)
    cursor = await connection.execute("SELECT epoch, owner FROM ledger_partitions")
    assert await cursor.fetchall() == [(2, OTHER)]


async def test_a_worker_without_a_lease_begins_nothing(connection: AsyncConnection[Any], database_url: str) -> None:
    await own(connection, MINE)
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    await connection.execute("UPDATE ledger_workers SET lease_until = now()")
    assert await transitions.begin(connection, [start(due)], MINE) == set()
    await leases.renew(connection, MINE, LEASE)
    assert await transitions.begin(connection, [start(due)], MINE) == {due.command.id}


async def test_a_worker_judges_others_only_after_it_renewed_its_own_lease_without_a_gap(
    connection: AsyncConnection[Any],
) -> None:
    await leases.renew(connection, MINE, LEASE)
    await connection.execute("INSERT INTO ledger_workers VALUES ('dead', now(), now())")
    assert await leases.lost_workers(connection, MINE, LEASE) is None
    await grow_old(connection, MINE)
    found = await leases.lost_workers(connection, MINE, LEASE)
    assert found is not None
    assert set(found.leases) == {"dead"}
    ends = "UPDATE ledger_workers SET lease_until = now() + %s::interval WHERE owner = %s"
    await connection.execute(ends, [LEASE * leases.WATCHED * 0.9, MINE])
    assert await leases.lost_workers(connection, MINE, LEASE) is None, "others may renew at this moment, as it should"
    await connection.execute(ends, [timedelta(seconds=-1), MINE])
    await leases.renew(connection, MINE, LEASE)
    assert await leases.lost_workers(connection, MINE, LEASE) is None, "as after an outage"


async def test_a_command_in_doubt_that_may_be_resent_is_due_and_a_late_answer_still_counts(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begin_one(connection, database_url)
    await lose(connection, ["marketing"])
    late = change(due, LedgerState.ACCEPTED)
    assert await transitions.answer(connection, [late], MINE) == {due.command.id}
    assert (await row(connection, due.command))[0] == "accepted"


async def test_a_late_answer_changes_nothing_after_another_worker_has_begun(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begin_one(connection, database_url)
    await lose(connection, ["marketing"])
    await publish(connection)
    [again] = await take(connection, now=datetime.now(UTC))
    assert await transitions.begin(connection, [start(again)], OTHER) == {due.command.id}
    assert await transitions.answer(connection, [change(due, LedgerState.REFUSED, hard=True)], MINE) == set()
    assert (await row(connection, due.command))[:3] == ("started", 2, OTHER)
    cursor = await connection.execute("SELECT count(*) FROM suppressions")
    assert await cursor.fetchone() == (0,)


async def test_an_attempt_that_is_in_doubt_is_not_undone(connection: AsyncConnection[Any], database_url: str) -> None:
    due = await begin_one(connection, database_url)
    await lose(connection)
    back = change(due, LedgerState.ADMITTED, next_attempt_at=LATER)
    assert await transitions.take_back(connection, [back], MINE) == set()
    assert (await row(connection, due.command))[0] == "in_doubt"
