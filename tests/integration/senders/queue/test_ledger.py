"""The ledger on a real PostgreSQL: who may change what, and that nothing is counted twice."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from infra.postgres.migrate import migrate
from schemas.commands import SendCommand
from schemas.outcomes import Reply
from schemas.vocabulary import LedgerState, OutcomeKind, ReplyClass
from senders.queue import ledger
from senders.queue.ledger import Admission, Due, OutboxMessage, Start, StateChange

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
MINE, OTHER = "worker-a", "worker-b"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    migrate(database_url)
    async with await AsyncConnection.connect(database_url, autocommit=True) as open_connection:
        yield open_connection


def admit(database_url: str, *commands: SendCommand, partition: int = 0) -> int:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return ledger.admit(connection, [Admission(partition, command) for command in commands], NOW)


async def take(connection: AsyncConnection[Any], now: datetime = NOW, **changes: Any) -> list[Due]:
    arguments: dict[str, Any] = {"partitions": [0], "in_hand": [], "now": now, "limit": 10}
    return await ledger.read_due(connection, await ledger.due(connection, **(arguments | changes)))


async def waiting_to_be_announced(connection: AsyncConnection[Any]) -> list[OutboxMessage]:
    return [row.message() for row in await ledger.outbox_rows(connection, [0], 10)]


async def announce(connection: AsyncConnection[Any]) -> None:
    await ledger.mark_published(connection, await waiting_to_be_announced(connection))


def start(due: Due) -> Start:
    return Start(due, "<id@x>", b"\x01" * 32, NOW)


def change(due: Due, state: LedgerState, attempt: int = 1, **changes: Any) -> StateChange:
    return StateChange(due.command.id, attempt, state, LATER, **changes)


async def row(connection: AsyncConnection[Any], command: SendCommand) -> tuple[Any, ...]:
    cursor = await connection.execute(
        "SELECT state, attempt, owner, unannounced, next_attempt_at FROM ledger WHERE command_id = %s", [command.id]
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def begun(connection: AsyncConnection[Any], database_url: str) -> Due:
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    assert await ledger.begin(connection, [start(due)], MINE) == {due.command.id}
    return due


async def test_a_command_is_admitted_once_also_within_one_batch(
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
    assert await take(connection, in_hand=[ours.id]) == []
    assert await take(connection, now=NOW - timedelta(seconds=1)) == []


async def test_of_two_workers_one_begins(connection: AsyncConnection[Any], database_url: str) -> None:
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    assert await ledger.begin(connection, [start(due)], MINE) == {due.command.id}
    assert await ledger.begin(connection, [start(due)], OTHER) == set()
    assert await ledger.begin(connection, [start(due)], MINE) == {due.command.id}, "a repeated commit changes nothing"
    assert (await row(connection, due.command))[:3] == ("started", 1, MINE)


async def test_an_answer_ends_the_attempt_and_waits_to_be_announced(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begun(connection, database_url)
    answer = change(due, LedgerState.ACCEPTED, reply=Reply(code=250, text="ok"))
    assert await ledger.answer(connection, [answer], MINE) == {due.command.id}
    [told] = await waiting_to_be_announced(connection)
    assert (told.outcome.kind, told.outcome.attempt, told.outcome.time) == (OutcomeKind.ACCEPTED, 1, LATER)
    assert told.outcome.reply == Reply(code=250, text="ok")
    [again] = await waiting_to_be_announced(connection)
    assert again == told, "asked again, the same outcome with the same id"
    await ledger.mark_published(connection, [told])
    assert await waiting_to_be_announced(connection) == []


async def test_a_deferred_command_is_taken_again_only_after_its_answer_is_announced(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begun(connection, database_url)
    await ledger.answer(connection, [change(due, LedgerState.DEFERRED, next_attempt_at=LATER)], MINE)
    assert await take(connection, now=LATER) == []
    await announce(connection)
    assert await take(connection, now=NOW) == []
    [again] = await take(connection, now=LATER)
    assert (again.state, again.attempt) == (LedgerState.DEFERRED, 1)


async def test_what_a_lost_worker_began_is_in_doubt_and_what_we_began_is_not(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begun(connection, database_url)
    assert await ledger.doubt(connection, [0], MINE, [], LATER) == 0
    assert await ledger.doubt(connection, [1], OTHER, [], LATER) == 0
    assert await ledger.doubt(connection, [0], OTHER, [], LATER) == 1
    state, attempt, _, unannounced, next_at = await row(connection, due.command)
    assert (state, attempt, unannounced, next_at) == ("in_doubt", 1, True, None)


async def test_resent_doubt_is_due_again_and_a_late_answer_counts_until_then(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begun(connection, database_url)
    await ledger.doubt(connection, [0], OTHER, ["marketing"], LATER)
    late = change(due, LedgerState.ACCEPTED)
    assert await ledger.answer(connection, [late], MINE) == {due.command.id}
    assert (await row(connection, due.command))[0] == "accepted"


async def test_a_late_answer_changes_nothing_once_the_command_was_begun_anew(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begun(connection, database_url)
    await ledger.doubt(connection, [0], OTHER, ["marketing"], LATER)
    await announce(connection)
    [again] = await take(connection, now=LATER)
    assert await ledger.begin(connection, [start(again)], OTHER) == {due.command.id}
    assert await ledger.answer(connection, [change(due, LedgerState.REFUSED, hard=True)], MINE) == set()
    assert (await row(connection, due.command))[:3] == ("started", 2, OTHER)
    cursor = await connection.execute("SELECT count(*) FROM suppressions")
    assert await cursor.fetchone() == (0,)


async def test_a_hard_bounce_suppresses_the_address_in_the_same_transaction(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begun(connection, database_url)
    bounced = change(due, LedgerState.REFUSED, reason=ReplyClass.BAD_MAILBOX, hard=True)
    for _ in range(2):
        await ledger.answer(connection, [bounced], MINE)
    cursor = await connection.execute("SELECT address_hash, scope, reason, command_id FROM suppressions")
    assert await cursor.fetchall() == [(b"\x01" * 32, "*", "hard_bounce", due.command.id)]
    [told] = await waiting_to_be_announced(connection)
    assert (told.outcome.classification, told.outcome.hard) == ("bad_mailbox", True)


@pytest.mark.parametrize("before", [LedgerState.ADMITTED, LedgerState.DEFERRED])
async def test_an_attempt_of_which_no_server_took_anything_is_taken_back(
    connection: AsyncConnection[Any], database_url: str, before: LedgerState
) -> None:
    due = await begun(connection, database_url)
    if before is LedgerState.DEFERRED:
        await ledger.answer(connection, [change(due, before, next_attempt_at=NOW)], MINE)
        await announce(connection)
        [due] = await take(connection)
        assert await ledger.begin(connection, [start(due)], MINE) == {due.command.id}
    back = change(due, before, attempt=due.attempt + 1, next_attempt_at=LATER)
    assert await ledger.take_back(connection, [back], OTHER) == set()
    assert await ledger.take_back(connection, [back], MINE) == {due.command.id}
    assert await ledger.take_back(connection, [back], MINE) == set(), "a repeated one changes nothing"
    assert await row(connection, due.command) == (before, due.attempt, MINE, False, LATER)
    [again] = await take(connection, now=LATER)
    assert (again.state, again.attempt) == (before, due.attempt)


async def test_what_was_put_in_doubt_meanwhile_is_not_taken_back(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    due = await begun(connection, database_url)
    await ledger.doubt(connection, [0], OTHER, [], LATER)
    back = change(due, LedgerState.ADMITTED, next_attempt_at=LATER)
    assert await ledger.take_back(connection, [back], MINE) == set()
    assert (await row(connection, due.command))[0] == "in_doubt"


async def test_waiting_keeps_the_state_and_says_why(connection: AsyncConnection[Any], database_url: str) -> None:
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    wait = change(due, LedgerState.ADMITTED, attempt=0, reason="consent_stale", next_attempt_at=LATER)
    assert await ledger.postpone(connection, [wait]) == {due.command.id}
    assert (await row(connection, due.command))[0] == "admitted"
    assert await take(connection, now=NOW) == []
    assert len(await take(connection, now=LATER)) == 1


async def test_settling_touches_nothing_that_has_begun(connection: AsyncConnection[Any], database_url: str) -> None:
    due = await begun(connection, database_url)
    expired = change(due, LedgerState.EXPIRED, attempt=1)
    assert await ledger.settle(connection, [expired]) == set()
    assert (await row(connection, due.command))[0] == "started"


async def test_the_ledger_forgets_only_what_is_settled_and_announced(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    held = await begun(connection, database_url)
    admit(database_url, a_command("u2", "h"))
    [waiting] = await take(connection, in_hand=[held.command.id])
    settled = a_command("u3", "h")
    admit(database_url, settled)
    [due] = [due for due in await take(connection) if due.command.id == settled.id]
    await ledger.settle(connection, [StateChange(settled.id, 0, LedgerState.EXPIRED, NOW)])
    far = NOW + ledger.KEPT
    assert await ledger.forget(connection, far, 10) == 0, "not announced yet"
    await announce(connection)
    assert await ledger.forget(connection, NOW, 10) == 0, "not old enough"
    assert await ledger.forget(connection, far, 10) == 1
    assert (await row(connection, held.command))[0] == "started"
    assert (await row(connection, waiting.command))[0] == "admitted"
    assert due.command.id == settled.id
