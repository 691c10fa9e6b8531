"""The primary database is killed while mails are going out, and its synchronous standby takes its place."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.own_postgres import OwnPostgres, Standby, own_postgres, synchronous_standby, url_of
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, wait_until
from drivers.shaped_delivery import in_state, kept, publish, shaped, zones_of

from infra.postgres.migrate import migrate
from schemas.vocabulary import LedgerState

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

MAILS = 300
FIRST = 50
SLOW = '[[provider]]\nname = "slow"\nrecipients = ["*@example.net"]\nlatency_ms = [50, 100]\n'
"""So slow a receiver that most mails are left when the first ones are out."""


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
    migrate(url_of(primary, standby))
    with shaped(servers, url_of(primary, standby), tmp_path, zones_of(), SLOW, shaping=None) as made:
        made.sink.start()
        yield made


def test_delivery_goes_on_with_the_standby_and_no_mail_is_lost_or_sent_twice(
    delivery: Harbour, primary: OwnPostgres, standby: Standby, tmp_path: Path
) -> None:
    commands, log = publish(delivery, MAILS, "example.net"), tmp_path / "senders.log"
    ids = [command.id for command in commands]

    def accepted() -> set[str]:
        query = "SELECT command_id FROM ledger WHERE state = %s AND command_id = ANY(%s)"
        return {command for (command,) in delivery.rows(query, LedgerState.ACCEPTED, ids)}

    delivery.start_process()
    wait_until(lambda: len(accepted()) >= FIRST, f"{FIRST} mails are out")
    known = accepted()
    primary.kill()
    wait_until(lambda: b"timescale_away" in log.read_bytes(), "delivery says that the database is away")
    standby.promote()
    assert known <= accepted(), "what the primary said is so on the standby"
    assert len(accepted()) < MAILS, "the primary was killed too late to show anything"

    def ended() -> bool:
        return len(accepted()) + in_state(delivery, commands, LedgerState.IN_DOUBT) == MAILS

    wait_until(ended, "every command has its end")
    in_doubt = set(ids) - accepted()
    mailed = Counter(each.command for each in kept(delivery, commands))
    assert set(ids) - set(mailed) <= in_doubt, "no mail is lost"
    assert {command for command, times in mailed.items() if times > 1} <= in_doubt, "none is sent twice unsaid"
    assert len(in_doubt) <= delivery.settings["connections"]
    recorded = "SELECT count(DISTINCT command_id) FROM deliveries WHERE kind = 'accepted' AND command_id = ANY(%s)"
    wait_until(lambda: delivery.recorded(recorded, ids) == [(MAILS - len(in_doubt),)], "every acceptance is recorded")
    assert log.read_text().count("timescale_away") == log.read_text().count("timescale_back") == 1

    assert "sent" in delivery.command("explain", "command", next(iter(known))).stdout
    assert delivery.command("migrate").stdout == "nothing to apply\n"
