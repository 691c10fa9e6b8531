"""The primary database is killed while mails are going out, and its synchronous standby takes its place."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.own_postgres import OwnPostgres, Standby, own_postgres, synchronous_standby, url_of
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, parsed, wait_until

from infra.postgres.migrate import migrate
from schemas.commands import SendCommand
from schemas.topics import COMMANDS
from schemas.vocabulary import LedgerState

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

MAILS = 600
FIRST = 100


@pytest.fixture
def primary(servers: RealServers, tmp_path: Path) -> Iterator[OwnPostgres]:
    with own_postgres(servers, tmp_path / "primary") as made:
        yield made


@pytest.fixture
def standby(primary: OwnPostgres, tmp_path: Path) -> Iterator[Standby]:
    with synchronous_standby(primary, tmp_path / "standby") as made:
        yield made


@pytest.fixture
def delivery(servers: RealServers, primary: OwnPostgres, standby: Standby, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    url = url_of(primary, standby)
    migrate(url)
    yield from harbour(servers.kafka, url, tmp_path)


def publish(delivery: Harbour, count: int) -> list[SendCommand]:
    template = delivery.publish_template()
    users = [delivery.publish_user() for _ in range(20)]
    commands = [a_command(users[number % len(users)], template) for number in range(count)]
    for command in commands:
        delivery.publish_soon(COMMANDS.name, command.user_id, command)
    delivery.flush()
    return commands


def in_state(delivery: Harbour, ids: list[str], state: LedgerState) -> set[str]:
    query = "SELECT command_id FROM ledger WHERE state = %s AND command_id = ANY(%s)"
    return {command for (command,) in delivery.rows(query, state, ids)}


def test_delivery_goes_on_with_the_standby_and_no_mail_is_lost_or_sent_twice(
    delivery: Harbour, primary: OwnPostgres, standby: Standby, tmp_path: Path
) -> None:
    ids, log = [command.id for command in publish(delivery, MAILS)], tmp_path / "senders.log"

    def accepted() -> set[str]:
        return in_state(delivery, ids, LedgerState.ACCEPTED)

    delivery.start_process()
    wait_until(lambda: len(accepted()) >= FIRST, f"{FIRST} mails are out")
    known = accepted()
    primary.kill()
    wait_until(lambda: b"timescale_away" in log.read_bytes(), "delivery says that the database is away")
    standby.promote()
    assert known <= accepted(), "what the primary said is so on the standby"
    assert len(accepted()) < MAILS, "the primary was killed too late to show anything"

    def ended() -> bool:
        return len(accepted()) + len(in_state(delivery, ids, LedgerState.IN_DOUBT)) == MAILS

    wait_until(ended, "every command has its end")
    in_doubt = set(ids) - accepted()
    mailed = Counter(parsed(mail.raw)["X-Ebbtide-Command"] for mail in delivery.sink.messages())
    assert set(ids) - set(mailed) <= in_doubt, "no mail is lost"
    assert {command for command, times in mailed.items() if times > 1} <= in_doubt, "none is sent twice unsaid"
    assert len(in_doubt) <= delivery.settings["connections"]
    recorded = "SELECT count(DISTINCT command_id) FROM deliveries WHERE kind = 'accepted' AND command_id = ANY(%s)"
    wait_until(lambda: delivery.recorded(recorded, ids) == [(MAILS - len(in_doubt),)], "every acceptance is recorded")
    assert log.read_text().count("timescale_away") == log.read_text().count("timescale_back") == 1

    assert "sent" in delivery.command("explain", "command", next(iter(known))).stdout
    assert delivery.command("migrate").stdout == "nothing to apply\n"
