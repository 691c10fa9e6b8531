"""The ledger on a real PostgreSQL: which changes each state allows, and that nothing is counted twice."""

from datetime import timedelta
from typing import Any

import pytest
from drivers.ledger_attempts import (
    LATER,
    MINE,
    NOW,
    OTHER,
    admit,
    begin_one,
    change,
    own,
    publish,
    row,
    start,
    take,
    unpublished,
)
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState, OutcomeKind, ReplyClass
from senders.queue import attempt_paths, outbox, transitions
from senders.queue.attempt_paths import AttemptPath

pytestmark = pytest.mark.servers


async def test_a_command_is_admitted_once_even_within_one_batch(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    command = a_command("u1", "h", data={"deep": {"é": [1, 2.5, None, True]}})
    assert admit(database_url, command, command) == 1
    assert admit(database_url, command) == 0
    [due] = await take(connection)
    assert due.command == command
    assert (due.state, due.attempt) == (LedgerState.ADMITTED, 0)


async def test_only_due_commands_of_our_partitions_that_are_not_in_hand_are_taken(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    ours, other = a_command("u1", "h"), a_command("u2", "h")
    admit(database_url, ours)
    admit(database_url, other, partition=1)
    assert [due.command.id for due in await take(connection)] == [ours.id]
    assert await take(connection, without=[ours.id]) == []
    assert await take(connection, now=NOW - timedelta(seconds=1)) == []


async def test_of_two_workers_one_begins(connection: AsyncConnection[Any], database_url: str) -> None:
    await own(connection, MINE)
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    assert await transitions.begin(connection, [start(due)], MINE) == {due.command.id}
    assert await transitions.begin(connection, [start(due)], MINE) == {due.command.id}, (
        "a repeated commit changes nothing"
    )
    await own(connection, OTHER)
    assert await transitions.begin(connection, [start(due)], OTHER) == set()
    assert (await row(connection, due.command))[:3] == ("started", 1, MINE)


async def test_an_answer_ends_the_attempt_and_is_then_to_be_published(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begin_one(connection, database_url)
    answer = change(due, LedgerState.ACCEPTED, reply=Reply(code=250, text="ok"))
    assert await transitions.answer(connection, [answer], MINE) == {due.command.id}
    [message] = await unpublished(connection)
    assert (message.outcome.kind, message.outcome.attempt, message.outcome.time) == (OutcomeKind.ACCEPTED, 1, LATER)
    assert message.outcome.reply == Reply(code=250, text="ok")
    [again] = await unpublished(connection)
    assert again == message, "asked again, the same outcome with the same id"
    await outbox.mark_published(connection, [message])
    assert await unpublished(connection) == []


async def test_a_deferred_command_is_taken_again_when_it_is_due_and_each_outcome_is_published(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begin_one(connection, database_url)
    await transitions.answer(connection, [change(due, LedgerState.DEFERRED, next_attempt_at=LATER)], MINE)
    assert await take(connection, now=NOW) == []
    [again] = await take(connection, now=LATER)
    assert (again.state, again.attempt) == (LedgerState.DEFERRED, 1)
    assert await transitions.begin(connection, [start(again)], MINE) == {due.command.id}
    await transitions.answer(connection, [change(due, LedgerState.ACCEPTED, attempt=2)], MINE)
    kinds = [(message.outcome.kind, message.outcome.attempt) for message in await unpublished(connection)]
    assert kinds == [(OutcomeKind.DEFERRED, 1), (OutcomeKind.ACCEPTED, 2)]


async def test_a_hard_bounce_suppresses_the_address_in_the_same_transaction(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begin_one(connection, database_url)
    bounced = change(due, LedgerState.REFUSED, reason=ReplyClass.INVALID_RECIPIENT, hard=True)
    for _ in range(2):
        await transitions.answer(connection, [bounced], MINE)
    cursor = await connection.execute("SELECT address_hash, scope, reason, command_id FROM suppressions")
    assert await cursor.fetchall() == [(b"\x01" * 32, "*", "hard_bounce", due.command.id)]
    [message] = await unpublished(connection)
    assert (message.outcome.classification, message.outcome.hard) == ("invalid_recipient", True)


@pytest.mark.parametrize("before", [LedgerState.ADMITTED, LedgerState.DEFERRED])
async def test_an_attempt_that_reached_no_server_is_undone(
    connection: AsyncConnection[Any], database_url: str, before: LedgerState
) -> None:
    due = await begin_one(connection, database_url)
    if before is LedgerState.DEFERRED:
        await transitions.answer(connection, [change(due, before, next_attempt_at=NOW)], MINE)
        await publish(connection)
        [due] = await take(connection)
        assert await transitions.begin(connection, [start(due)], MINE) == {due.command.id}
    back = change(due, before, attempt=due.attempt + 1, next_attempt_at=LATER)
    assert await transitions.take_back(connection, [back], OTHER) == set()
    assert await transitions.take_back(connection, [back], MINE) == {due.command.id}
    assert await transitions.take_back(connection, [back], MINE) == set(), "a repeated one changes nothing"
    assert await row(connection, due.command) == (before, due.attempt, MINE, LATER)
    [again] = await take(connection, now=LATER)
    assert (again.state, again.attempt) == (before, due.attempt)


async def test_a_postponed_command_keeps_its_state_and_has_a_reason(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    wait = change(due, LedgerState.ADMITTED, attempt=0, reason="consent_stale", next_attempt_at=LATER)
    assert await transitions.postpone(connection, [wait]) == {due.command.id}
    assert (await row(connection, due.command))[0] == "admitted"
    assert await take(connection, now=NOW) == []
    assert len(await take(connection, now=LATER)) == 1


async def test_a_deferred_command_knows_the_source_of_its_last_mail_also_after_it_waited_for_a_limit(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    way, due = AttemptPath('{"source":"bulk1"}'), await begin_one(connection, database_url)
    assert (due.last_source, due.blocked) == (None, False)
    way.number = (await attempt_paths.store(connection, [way]))[way.text]
    answer = change(due, LedgerState.DEFERRED, next_attempt_at=LATER, path=way, blocked=True)
    await transitions.answer(connection, [answer], MINE)
    waits = change(due, LedgerState.DEFERRED, reason=DeliveryReason.LIMITED, next_attempt_at=LATER)
    assert await transitions.postpone(connection, [waits]) == {due.command.id}

    [due] = await take(connection, LATER)

    assert (due.last_source, due.blocked) == ("bulk1", True)
    cursor = await connection.execute("SELECT path FROM ledger_outcomes")
    assert [number async for (number,) in cursor] == [way.number]


async def test_a_way_has_one_number_whoever_stores_it(connection: AsyncConnection[Any]) -> None:
    one, same, other = AttemptPath("{}"), AttemptPath("{}"), AttemptPath('{"source":"a"}')
    first = await attempt_paths.store(connection, [one, other])
    await connection.execute("UPDATE ledger_paths SET used_on = used_on - 5")

    assert await attempt_paths.store(connection, [same, other]) == first
    cursor = await connection.execute("SELECT count(*) FROM ledger_paths WHERE used_on >= current_date - 1")
    assert await cursor.fetchone() == (2,)


async def test_settling_does_not_change_a_started_command(connection: AsyncConnection[Any], database_url: str) -> None:
    due = await begin_one(connection, database_url)
    expired = change(due, LedgerState.EXPIRED, attempt=1)
    assert await transitions.settle(connection, [expired]) == set()
    assert (await row(connection, due.command))[0] == "started"
