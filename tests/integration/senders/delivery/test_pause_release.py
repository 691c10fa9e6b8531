"""What a pause held becomes due after it, once and batch by batch, and a look that was asked for is never lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from psycopg import AsyncConnection
from structlog.testing import capture_logs

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from schemas.rules import Control
from schemas.vocabulary import DeliveryReason
from senders.delivery import pauses
from senders.delivery.ownership import PartitionOwnership
from senders.delivery.pauses import PauseRelease
from senders.policy.switches import DeliverySwitches
from senders.queue import ledger
from senders.queue import pauses as paused_rows
from senders.queue.ledger import Admission

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PAUSED = "SELECT count(*) FROM ledger_queue WHERE next_attempt_at > %s AND reason = 'paused'"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as open_connection:
        yield open_connection


@pytest.fixture
def switches() -> DeliverySwitches:
    switches = DeliverySwitches()
    switches.known = True
    return switches


@pytest.fixture
async def release(database_url: str, switches: DeliverySwitches) -> AsyncIterator[PauseRelease]:
    database, ownership = AsyncDatabase(database_url, Outage("timescale")), PartitionOwnership(1.0)
    ownership.assign([0, 1])
    ownership.hold([0, 1])
    yield PauseRelease(database, switches, ownership, lambda: NOW)
    await database.close()


def hold(
    database_url: str, count: int, partition: int = 0, reason: str = "paused", at: datetime = LATER, **changes: Any
) -> None:
    """Commands that wait until then."""
    commands = [a_command("u1", "h", priority=number % 3, **changes) for number in range(count)]
    with psycopg.connect(database_url, autocommit=True) as connection:
        ledger.admit(connection, [Admission.of(partition, command) for command in commands], NOW)
        connection.execute(
            """UPDATE ledger_queue SET reason = %s, detail = 'global (switch 1)', next_attempt_at = %s
               WHERE command_id = ANY(%s::uuid[])""",
            [reason, at, [command.id for command in commands]],
        )


async def paused(connection: AsyncConnection[Any]) -> int:
    row = await (await connection.execute(PAUSED, [NOW])).fetchone()
    assert row is not None
    return int(row[0])


async def test_all_that_was_held_is_released_in_batches_and_nothing_else(
    connection: AsyncConnection[Any], database_url: str, release: PauseRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "BATCH", 10)
    for partition in (0, 1, 2):
        hold(database_url, 12, partition)
        hold(database_url, 12, partition, at=LATER + timedelta(seconds=1))
    hold(database_url, 12, reason="consent_stale")
    left = []
    while not left or left[-1] > 24:
        await release.release()
        left.append(await paused(connection))
    assert left == [62, 52, 42, 32, 24], "partition 2 is held by another worker"
    due = await connection.execute("SELECT count(*) FROM ledger_queue WHERE next_attempt_at = %s", [NOW])
    assert await due.fetchone() == (48,)


async def test_each_batch_begins_where_the_last_one_ended(connection: AsyncConnection[Any], database_url: str) -> None:
    hold(database_url, 9, reason="consent_stale")
    hold(database_url, 9)
    first, place = await paused_rows.release(connection, 0, paused_rows.BEGINNING, DeliveryReason.PAUSED, [], NOW, 4)
    assert (first, place.priority, place.due_at) == (4, 1, LATER)
    second, place = await paused_rows.release(connection, 0, place, DeliveryReason.PAUSED, [], NOW, 4)
    assert (second, place.priority) == (4, 2)
    hold(database_url, 1)  # of priority 0
    assert (await paused_rows.release(connection, 0, place, DeliveryReason.PAUSED, [], NOW, 4))[0] == 1
    assert await paused(connection) == 1, "a row of before is not looked at again"


async def test_a_new_look_is_made_only_when_asked_for_also_while_a_statement_runs(
    connection: AsyncConnection[Any], database_url: str, release: PauseRelease
) -> None:
    hold(database_url, 1)
    await release.release()
    hold(database_url, 1)
    await release.release()
    assert await paused(connection) == 1, "under the same switches only a pause asks for a look"
    release.again()
    async with await AsyncConnection.connect(database_url) as other:
        await other.execute("SELECT FROM ledger_queue FOR UPDATE")
        looking = asyncio.create_task(release.release())
        waiting = """SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        async with asyncio.timeout(30):
            while (await (await connection.execute(waiting)).fetchone()) == (0,):
                await asyncio.sleep(0.02)
        release.again()
    await looking
    hold(database_url, 1)
    await release.release()
    assert await paused(connection) == 0


def time_out(database_url: str) -> None:
    """Let each statement time out that changes a row of partition 0."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """CREATE FUNCTION time_out() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE query_canceled; END $$"""
        )
        connection.execute(
            """CREATE TRIGGER time_out BEFORE UPDATE ON ledger_queue FOR EACH ROW
               WHEN (OLD.partition = 0) EXECUTE FUNCTION time_out()"""
        )


async def test_a_retry_that_times_out_in_a_partition_holds_up_neither_others_nor_what_follows(
    connection: AsyncConnection[Any],
    database_url: str,
    release: PauseRelease,
    switches: DeliverySwitches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pauses, "BATCH", 2)
    for partition in (0, 1):
        hold(database_url, 3, partition, reason="limited")
    time_out(database_url)
    for number in (1, 2):
        switches.put(Control(scope="delivery", number=number, paused=False, retry=True, at=NOW, by="ada"))
    for _ in range(3):
        await release.release()
    waiting = "SELECT partition, count(*) FROM ledger_queue WHERE next_attempt_at > %s GROUP BY partition"
    assert await (await connection.execute(waiting, [NOW])).fetchall() == [(0, 3)]
    await connection.execute("DROP TRIGGER time_out ON ledger_queue")
    for _ in range(5):
        await release.release()
    assert await (await connection.execute(waiting, [NOW])).fetchall() == [], "the second request is made as well"


@pytest.mark.parametrize("scope", ["delivery/brand/shop", "delivery/endpoint/crm", "brand/shop", "global"])
async def test_a_retry_of_what_cannot_be_retried_leaves_every_command_alone(
    connection: AsyncConnection[Any], database_url: str, release: PauseRelease, switches: DeliverySwitches, scope: str
) -> None:
    hold(database_url, 3, reason="limited")
    switches.put(Control(scope=scope, number=1, paused=False, retry=True, at=NOW, by="ada"))
    with capture_logs() as logs:
        await release.release()
    waiting = await connection.execute("SELECT count(*) FROM ledger_queue WHERE next_attempt_at > %s", [NOW])
    assert await waiting.fetchone() == (3,)
    assert [(each["event"], each["scope"]) for each in logs] == [("retry_not_possible", scope)]


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        ("purpose/news", ["extra/news", "shop/digest"]),
        ("purpose/shop/news", ["extra/news", "news", "shop/digest", "two/news"]),
    ],
)
async def test_a_retry_of_a_purpose_is_one_of_every_brands_mails_of_it_as_a_pause_is(
    connection: AsyncConnection[Any],
    database_url: str,
    release: PauseRelease,
    switches: DeliverySwitches,
    scope: str,
    left: list[str],
) -> None:
    branded = [("shop", "shop/news"), ("two", "two/news"), ("shop", "shop/digest")]
    for brand, purpose in [*branded, (None, "news"), (None, "extra/news")]:
        hold(database_url, 1, reason="limited", brand=brand, purpose=purpose)
    switches.put(Control(scope=f"delivery/{scope}", number=1, paused=False, retry=True, at=NOW, by="ada"))
    await release.release()
    waiting = "SELECT purpose FROM ledger_queue WHERE next_attempt_at > %s ORDER BY purpose"
    assert [purpose for (purpose,) in await (await connection.execute(waiting, [NOW])).fetchall()] == left


async def test_a_look_that_times_out_rests_and_goes_on(
    connection: AsyncConnection[Any], database_url: str, switches: DeliverySwitches
) -> None:
    now = NOW
    database, ownership = AsyncDatabase(database_url, Outage("timescale")), PartitionOwnership(1.0)
    ownership.assign([0])
    ownership.hold([0])
    release = PauseRelease(database, switches, ownership, lambda: now)
    hold(database_url, 3)
    time_out(database_url)
    await release.release()
    await connection.execute("DROP TRIGGER time_out ON ledger_queue")
    await release.release()
    assert await paused(connection) == 3, "mails begin meanwhile"
    now += pauses.REST
    await release.release()
    due = await connection.execute("SELECT count(*) FROM ledger_queue WHERE next_attempt_at = %s", [now])
    assert await due.fetchone() == (3,)
    await database.close()
