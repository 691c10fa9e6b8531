"""The ledger on a real PostgreSQL: which changes each state allows, and that nothing is counted twice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import end_tasks
from schemas.commands import DEFAULT_PRIORITY, SendCommand
from schemas.outcomes import Reply
from schemas.vocabulary import TRANSACTIONAL, DeliveryReason, LedgerState, OutcomeKind, ReplyClass, SuppressionReason
from senders.policy.recipients import AddressHasher
from senders.policy.send_check import SendCheck
from senders.queue import attempt_paths, leases, ledger, outbox, transitions
from senders.queue.attempt_paths import AttemptPath
from senders.queue.due_order import BEGINNING
from senders.queue.ledger import Admission, DueCommand, QueueClass
from senders.queue.outbox import OutboxMessage
from senders.queue.transitions import AttemptStart, StateChange
from senders.queue.writer import Begin, LedgerWriter

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
MINE, OTHER = "worker-a", "worker-b"
LEASE = timedelta(seconds=30)
ORDINARY = QueueClass(0, DEFAULT_PRIORITY)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as open_connection:
        yield open_connection


def admit(database_url: str, *commands: SendCommand, partition: int = 0) -> int:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return ledger.admit(connection, [Admission.of(partition, command) for command in commands], NOW)


async def take(connection: AsyncConnection[Any], now: datetime = NOW, **changes: Any) -> list[DueCommand]:
    arguments: dict[str, Any] = {"after": {ORDINARY: BEGINNING}, "without": [], "now": now, "limit": 10}
    return await ledger.read_commands(connection, await ledger.due_commands(connection, **(arguments | changes)))


async def unpublished(connection: AsyncConnection[Any]) -> list[OutboxMessage]:
    return [row.message() for row in await outbox.unpublished_rows(connection, [0], 10)]


async def publish(connection: AsyncConnection[Any]) -> None:
    await outbox.mark_published(connection, await unpublished(connection))


def start(due: DueCommand) -> AttemptStart:
    return AttemptStart(due, b"\x01" * 32, NOW)


def change(due: DueCommand, state: LedgerState, attempt: int = 1, **changes: Any) -> StateChange:
    return StateChange(due.command.id, attempt, state, LATER, **changes)


async def row(connection: AsyncConnection[Any], command: SendCommand) -> tuple[Any, ...]:
    cursor = await connection.execute(
        "SELECT state, attempt, owner, next_attempt_at FROM ledger WHERE command_id = %s", [command.id]
    )
    found = await cursor.fetchone()
    assert found is not None
    return found


async def own(connection: AsyncConnection[Any], owner: str) -> None:
    """Make this worker the owner of partition 0."""
    await leases.renew(connection, owner, LEASE)
    await leases.take_over(connection, [0], owner)


async def judge(connection: AsyncConnection[Any], resend: Sequence[str] = ()) -> int:
    """Let OTHER put in doubt what lost workers began. Returns how many commands."""
    lost, in_doubt = await leases.lost_workers(connection, OTHER, LEASE), 0
    while lost is not None:
        count, lost = await leases.mark_in_doubt(connection, lost, resend)
        in_doubt += count
    return in_doubt


async def grow_old(connection: AsyncConnection[Any], owner: str) -> None:
    """As if this worker had renewed its lease without a gap for long enough to judge others."""
    await connection.execute(
        "UPDATE ledger_workers SET renewed_since = now() - %s::interval WHERE owner = %s",
        [LEASE * leases.WATCHED, owner],
    )


async def begin_one(connection: AsyncConnection[Any], database_url: str) -> DueCommand:
    await own(connection, MINE)
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    assert await transitions.begin(connection, [start(due)], MINE) == {due.command.id}
    return due


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


async def lose(connection: AsyncConnection[Any], resend: Sequence[str] = ()) -> None:
    """Let OTHER take over what MINE leaves in doubt."""
    await leases.end(connection, MINE)
    await judge(connection, resend)
    await own(connection, OTHER)


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


async def test_an_attempt_that_is_in_doubt_is_not_undone(connection: AsyncConnection[Any], database_url: str) -> None:
    due = await begin_one(connection, database_url)
    await lose(connection)
    back = change(due, LedgerState.ADMITTED, next_attempt_at=LATER)
    assert await transitions.take_back(connection, [back], MINE) == set()
    assert (await row(connection, due.command))[0] == "in_doubt"


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


async def test_a_way_has_one_number_whoever_stores_it(connection: AsyncConnection[Any]) -> None:
    one, same, other = AttemptPath("{}"), AttemptPath("{}"), AttemptPath('{"source":"a"}')
    first = await attempt_paths.store(connection, [one, other])
    await connection.execute("UPDATE ledger_paths SET used_on = used_on - 5")

    assert await attempt_paths.store(connection, [same, other]) == first
    cursor = await connection.execute("SELECT count(*) FROM ledger_paths WHERE used_on >= current_date - 1")
    assert await cursor.fetchone() == (2,)


async def test_a_begin_that_is_repeated_and_then_refused_is_taken_back(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    """As after a commit that the server did not confirm: its lane has sent nothing yet."""
    await own(connection, MINE)
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    refusals: dict[str, StateChange] = {}

    async def check(_: AsyncConnection[Any], starts: Sequence[AttemptStart]) -> dict[str, StateChange]:
        return refusals if starts else {}

    database = AsyncDatabase(database_url, Outage("timescale"))
    writer = LedgerWriter(database, MINE, check)
    writing = asyncio.create_task(writer.run())
    assert await writer.begin(start(due)) is Begin.MADE
    reason = SuppressionReason.NO_CONSENT
    pause = change(due, LedgerState.ADMITTED, attempt=0, reason=DeliveryReason.PAUSED, next_attempt_at=NOW)
    refusals[due.command.id] = pause
    assert await writer.begin(start(due)) is Begin.PAUSED
    refusals[due.command.id] = change(due, LedgerState.SUPPRESSED, attempt=0, reason=reason)
    assert await writer.begin(start(due)) is Begin.REFUSED
    assert (await row(connection, due.command))[:2] == ("suppressed", 0)
    await end_tasks([writing])
    await database.close()


async def test_links_are_stored_by_the_first_mail_that_begins_also_after_one_that_was_refused(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    await own(connection, MINE)
    admit(database_url, a_command("u1", "h"), a_command("u2", "h"))
    links = {b"a link 1": "https://shop.example/cart"}
    refused, sent = [AttemptStart(due, b"\x01" * 32, NOW, links) for due in await take(connection)]
    no = change(refused.due, LedgerState.SUPPRESSED, attempt=0, reason=SuppressionReason.NO_CONSENT)

    async def check(_: AsyncConnection[Any], starts: Sequence[AttemptStart]) -> dict[str, StateChange]:
        return {no.command_id: no} if refused in starts else {}

    database = AsyncDatabase(database_url, Outage("timescale"))
    writer = LedgerWriter(database, MINE, check)
    writing = asyncio.create_task(writer.run())
    assert await writer.begin(refused) is Begin.REFUSED
    assert await writer.begin(sent) is Begin.MADE
    stored = await (await connection.execute("SELECT id, url FROM links")).fetchall()
    assert dict(stored) == links
    await end_tasks([writing])
    await database.close()


async def test_a_begin_that_timed_out_is_made_again(connection: AsyncConnection[Any], database_url: str) -> None:
    await own(connection, MINE)
    admit(database_url, a_command("u1", "h"))
    [due] = await take(connection)
    await connection.execute("CREATE SEQUENCE tries")  # no rollback takes its numbers back
    await connection.execute(
        """CREATE FUNCTION time_out() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF nextval('tries') < 3 THEN RAISE query_canceled; END IF; RETURN NEW; END $$"""
    )
    await connection.execute(
        "CREATE TRIGGER time_out BEFORE UPDATE ON ledger_queue FOR EACH ROW EXECUTE FUNCTION time_out()"
    )

    async def check(_: AsyncConnection[Any], __: Sequence[AttemptStart]) -> dict[str, StateChange]:
        return {}

    database = AsyncDatabase(database_url, Outage("timescale"))
    writer = LedgerWriter(database, MINE, check)
    writing = asyncio.create_task(writer.run())
    assert await writer.begin(start(due)) is Begin.MADE
    assert (await row(connection, due.command))[:2] == ("started", 1)
    await end_tasks([writing])
    await database.close()


async def test_no_mail_begins_to_an_address_that_is_refused_hard_in_the_same_group(
    connection: AsyncConnection[Any], database_url: str
) -> None:
    await own(connection, MINE)
    hasher, address = AddressHasher(b"a secret of the tests"), "ann@example.net"
    admit(database_url, *(a_command("u1", "h", purpose=TRANSACTIONAL, to=address) for _ in range(2)))
    starts = [AttemptStart(due, hasher(address), NOW) for due in await take(connection)]
    first, second = starts
    database = AsyncDatabase(database_url, Outage("timescale"))
    writer = LedgerWriter(database, MINE, SendCheck(hasher, timedelta(seconds=5)))
    writing = asyncio.create_task(writer.run())
    assert await writer.begin(first) is Begin.MADE
    bounce = change(first.due, LedgerState.REFUSED, hard=True)
    assert await asyncio.gather(writer.answer(bounce), writer.begin(second)) == [True, Begin.REFUSED]
    assert (await row(connection, second.due.command))[:2] == ("suppressed", 0)
    await end_tasks([writing])
    await database.close()


async def test_settling_does_not_change_a_started_command(connection: AsyncConnection[Any], database_url: str) -> None:
    due = await begin_one(connection, database_url)
    expired = change(due, LedgerState.EXPIRED, attempt=1)
    assert await transitions.settle(connection, [expired]) == set()
    assert (await row(connection, due.command))[0] == "started"
