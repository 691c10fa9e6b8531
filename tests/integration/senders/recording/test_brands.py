"""The brand of a mail on its way from the command to the rollups: by delivery, bounces, pages and strangers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event

import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.recorded_facts import kept
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from infra.kafka.connection import Connection as KafkaConnection
from infra.postgres.database import AsyncDatabase, Database
from infra.service.outages import Outage
from schemas.outcomes import Outcome
from schemas.vocabulary import LedgerState, OutcomeKind
from senders.bounces.sent_commands import SentCommands
from senders.queue import leases, ledger, outbox, transitions
from senders.queue.due_order import BEGINNING
from senders.queue.ledger import Admission, QueueClass
from senders.queue.transitions import AttemptStart, StateChange
from senders.recording.rebuild import days_to_count, rebuild
from senders.recording.recorder import Recorder
from web.recipients import facts, stored
from web.recipients.evidence import Hit, Signals

pytestmark = pytest.mark.servers

OWNER = "worker-a"


@pytest.fixture
def recorder(servers: RealServers, database_url: str) -> Iterator[Recorder]:
    halt = Event()
    database, of_ledger = (Database(database_url, Outage(name), halt) for name in ("timescale", "ledger"))
    made = Recorder(KafkaConnection(servers.kafka), database, of_ledger, halt)
    yield made
    made.consumer.close()
    for each in (database, of_ledger):
        each.close()


async def accepted(url: str, brand: str | None) -> Outcome:
    """What delivery publishes of a mail that was accepted."""
    command = a_command("u1", "h", brand=brand, purpose="transactional")
    with psycopg.connect(url, autocommit=True) as intake:
        ledger.admit(intake, [Admission.of(0, command)], datetime.now(UTC))
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await leases.renew(connection, OWNER, timedelta(minutes=1))
        await leases.take_over(connection, [0], OWNER)
        after, now = {QueueClass(0, command.priority): BEGINNING}, datetime.now(UTC)
        [due] = await ledger.read_commands(connection, await ledger.due_commands(connection, after, [], now, 1))
        assert await transitions.begin(connection, [AttemptStart(due, b"", now)], OWNER)
        change = StateChange(command.id, 1, LedgerState.ACCEPTED, now)
        assert await transitions.answer(connection, [change], OWNER)
        [row] = await outbox.unpublished_rows(connection, [0], 1)
        await outbox.mark_published(connection, [row.message()])
    return row.message().outcome


async def clicked(url: str, mail: Outcome) -> Outcome:
    async with await AsyncConnection.connect(url) as connection:
        origins = await stored.in_ledger(connection, [mail.command_id])
    at_us = facts.microseconds(datetime.now(UTC) + timedelta(minutes=5))  # sooner, a scanner may have done it
    hit = Hit(
        OutcomeKind.CLICKED, mail.command_id, at_us, Signals(navigation=True), b"12345678", "https://shop.example/"
    )
    return facts.of_hit(hit, origins[mail.command_id])


def complained(mail: Outcome) -> Outcome:
    """As a stranger says it, who knows no more than the command."""
    return Outcome(
        id=f"complaint of {mail.command_id}",
        command_id=mail.command_id,
        user_id="u1",
        kind=OutcomeKind.COMPLAINED,
        time=datetime.now(UTC),
    )


async def test_every_fact_of_a_mail_counts_for_the_brand_of_its_command(recorder: Recorder, database_url: str) -> None:
    mails = [await accepted(database_url, brand) for brand in ("shop", None)]
    assert [mail.brand for mail in mails] == ["shop", None]

    recorder._write(mails)
    recorder._write([await clicked(database_url, mail) for mail in mails])
    recorder._write([complained(mail) for mail in mails])

    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as connection:
        counted = "SELECT brand, accepted, clicked_by_people, complained FROM rollup_mails_day WHERE accepted > 0"
        assert sorted(connection.execute(counted).fetchall()) == [("", 1, 1, 1), ("shop", 1, 1, 1)]
        for name, of_brand in (("deliveries", 1), ("engagement", 2)):
            sums = f"SELECT brand, sum(n) FROM rollup_{name}_day GROUP BY brand ORDER BY brand".encode()
            assert connection.execute(sums).fetchall() == [("", of_brand), ("shop", of_brand)]
        before = kept(connection)
        rebuild(connection, days_to_count(connection, None, None))
        assert kept(connection) == before


async def test_bounces_and_pages_find_the_brand_in_the_ledger_and_among_deliveries(
    recorder: Recorder, database_url: str
) -> None:
    mail = await accepted(database_url, "shop")
    recorder._write([mail])
    databases = SentCommands(*(AsyncDatabase(database_url, Outage("timescale")) for _ in range(2)))
    in_ledger = await databases.find(mail.command_id)
    with psycopg.connect(database_url) as connection:
        connection.execute("TRUNCATE ledger_outcomes, ledger_outbox")
    in_deliveries = await databases.find(mail.command_id)
    for database in (databases.ledger, databases.timescale):
        await database.close()
    assert in_ledger is not None
    assert in_ledger == in_deliveries
    assert in_ledger.brand == "shop"
    async with await AsyncConnection.connect(database_url) as connection:
        origins = await stored.in_deliveries(connection, [mail.command_id])
    assert origins[mail.command_id].brand == "shop"
