"""The ledger in a database of its own: what goes where, and that neither database holds the other up."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from drivers.database_outage import database_away
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until
from psycopg import sql

from infra.postgres.migrate import MigrationError, migrate_both
from schemas.commands import SendCommand
from schemas.outcomes import Outcome
from schemas.profiles import Consent, Profile
from schemas.topics import COMMANDS, OUTCOMES, PROFILES
from schemas.vocabulary import LedgerState, OutcomeKind

pytestmark = pytest.mark.servers

OF_THE_LEDGER = ("ledger", "ledger_ids", "ledger_outbox", "recipients", "recipients_progress", "suppressions")
OF_ANALYSTS = ("decisions", "deliveries", "engagement")


@pytest.fixture
def ledger_url(servers: RealServers) -> Iterator[str]:
    url = servers.create_database()
    yield url
    servers.drop_database(url)


@pytest.fixture
def delivery(servers: RealServers, database_url: str, ledger_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    for made in harbour(servers.kafka, database_url, tmp_path, ledger_url=ledger_url):
        made.start()
        yield made


def send(delivery: Harbour, user: str, template: str) -> SendCommand:
    command = a_command(user, template)
    delivery.publish(COMMANDS.name, user, command)
    return command


def tell(delivery: Harbour, command: SendCommand, kind: OutcomeKind) -> None:
    """A reader's outcome, as others publish it: without trigger and purpose."""
    outcome = Outcome(
        id=f"{kind}-{command.id}",
        command_id=command.id,
        user_id=command.user_id,
        kind=kind,
        time=datetime.now(UTC),
    )
    delivery.publish(OUTCOMES.name, command.user_id, outcome)


def recorded(delivery: Harbour, table: str, command: SendCommand) -> list[tuple[object, ...]]:
    found = delivery.recorded(f"SELECT kind, trigger, purpose FROM {table} WHERE command_id = %s", command.id)
    return sorted(found)


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchall()[0][0]


def test_what_delivery_decides_by_is_in_one_database_and_what_analysts_read_in_the_other(delivery: Harbour) -> None:
    template, user = delivery.publish_template(), delivery.publish_user()
    command = send(delivery, user, template)
    delivery.wait_for(command, LedgerState.ACCEPTED)
    tell(delivery, command, OutcomeKind.CLICKED)
    tell(delivery, command, OutcomeKind.UNSUBSCRIBED)
    wait_until(lambda: len(recorded(delivery, "engagement", command)) == 2, "both outcomes are recorded")
    wait_until(lambda: recorded(delivery, "deliveries", command), "so is the acceptance")

    assert recorded(delivery, "deliveries", command) == [("accepted", "hello", "marketing")]
    assert recorded(delivery, "engagement", command) == [
        ("clicked", "hello", "marketing"),
        ("unsubscribed", "hello", "marketing"),
    ]
    assert {table: count(delivery.database_url, table) for table in OF_THE_LEDGER} == dict.fromkeys(OF_THE_LEDGER, 0)
    assert {table: count(delivery.ledger_url, table) for table in OF_ANALYSTS} == dict.fromkeys(OF_ANALYSTS, 0)

    life = delivery.command("explain", "command", command.id)
    assert "accepted" in life.stdout
    assert "clicked" in life.stdout
    address = f"ann+{user}@example.net"
    wait_until(lambda: not delivery.command("suppressions", "explain", address).returncode, "it is suppressed")
    explained = delivery.command("suppressions", "explain", address)
    assert f"user {user}  trigger hello" in explained.stdout
    assert "unsubscribed, purpose marketing" in explained.stdout
    assert delivery.command("suppressions", "list", "--user", user).stdout.endswith("1 suppression\n")

    withheld = send(delivery, user, template)
    delivery.wait_for(withheld, LedgerState.SUPPRESSED)
    again = {"marketing": Consent(granted=True, time=datetime.now(UTC) + timedelta(seconds=1))}
    delivery.publish(PROFILES.name, user, Profile(user_id=user, address=address, consent=again))
    wait_until(lambda: delivery.command("suppressions", "explain", address).returncode, "the consent lifts it")
    delivery.wait_for(send(delivery, user, template), LedgerState.ACCEPTED)


def test_delivery_goes_on_while_the_database_of_the_hypertables_is_away(
    delivery: Harbour, servers: RealServers, capfd: pytest.CaptureFixture[str]
) -> None:
    template, user = delivery.publish_template(), delivery.publish_user()
    delivery.wait_for(send(delivery, user, template), LedgerState.ACCEPTED)
    with database_away(servers, delivery.database_url) as give_back:
        command = send(delivery, user, template)
        delivery.wait_for(command, LedgerState.ACCEPTED)
        log: list[str] = []

        def logged() -> str:
            output = capfd.readouterr()
            log.append(output.out + output.err)
            return "".join(log)

        wait_until(lambda: "timescale_away" in logged(), "the outage is logged")
        give_back()
    wait_until(lambda: recorded(delivery, "deliveries", command), "its row is written later")
    wait_until(lambda: "timescale_back" in logged(), "its end is logged")
    assert "ledger_away" not in logged()


def dead_after_vacuum(url: str) -> int:
    """How many rows of a queue that was filled and emptied VACUUM cannot remove."""
    notices: list[str] = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        connection.execute(
            """INSERT INTO ledger_queue (command_id, partition, priority, admitted_at, decided_at, state_at, state,
                                         user_id, trigger, purpose, command)
               SELECT gen_random_uuid(), 0, 50, now(), now(), now(), 'admitted', 'u', 't', 'p', ''
               FROM generate_series(1, 100)"""
        )
        connection.execute("DELETE FROM ledger_queue")
        connection.execute("VACUUM (VERBOSE) ledger_queue")
    lines = [line for notice in notices for line in notice.splitlines() if "dead but not yet removable" in line]
    of_table, *_of_toast = lines
    return int(of_table.split(" remain, ")[1].split()[0])


def test_an_open_transaction_of_an_analyst_holds_no_dead_rows_of_a_ledger_apart(
    database_url: str, ledger_url: str
) -> None:
    with psycopg.connect(database_url) as analyst:
        analyst.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        analyst.execute("SELECT count(*) FROM deliveries")
        assert dead_after_vacuum(database_url) == 100
        assert dead_after_vacuum(ledger_url) == 0


def test_no_ledger_begins_anew_beside_one_that_is_in_use(database_url: str, empty_database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO recipients (user_id, known_at) VALUES ('u1', now())")
    with pytest.raises(MigrationError, match="keep that as EBBTIDE_LEDGER_URL"):
        migrate_both(database_url, empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regclass('schema_migrations')").fetchall() == [(None,)]
    assert migrate_both(empty_database_url, database_url), "the new database is that of the hypertables"
