"""What is written for a group of mails in one transaction: begins that are checked, repeated, refused and timed out."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from drivers.ledger_attempts import MINE, NOW, admit, change, own, row, start, take
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import end_tasks
from schemas.vocabulary import TRANSACTIONAL, DeliveryReason, LedgerState, SuppressionReason
from senders.policy.recipients import AddressHasher
from senders.policy.send_check import SendCheck
from senders.queue.transitions import AttemptStart, StateChange
from senders.queue.writer import Begin, LedgerWriter

pytestmark = pytest.mark.servers


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
