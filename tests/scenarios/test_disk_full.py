"""The disk of the database is full: delivery waits, says so, and goes on when there is space again."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from drivers.own_postgres import OwnPostgres, own_postgres
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, parsed, wait_until
from drivers.small_disk import fill, small_disk

from infra.postgres.migrate import migrate
from schemas.topics import COMMANDS
from schemas.vocabulary import LedgerState

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

MAILS = 600
REFUSED = 8
"""So many statements fail on the full disk, while others succeed, such as those that renew a lease."""
TABLES_MIB, SERVER_MIB = 80, 350


class FullDisk:
    """A delivery whose database is on a small disk, and the server of the database."""

    def __init__(self, server: OwnPostgres, disk: Path, delivery: Harbour) -> None:
        self.server = server
        self.disk = disk
        self.delivery = delivery
        self.template = delivery.publish_template()
        self.users = [delivery.publish_user() for _ in range(20)]
        self.ids: list[str] = []

    def publish(self, count: int) -> None:
        for number in range(count):
            command = a_command(self.users[number % len(self.users)], self.template)
            self.ids.append(command.id)
            self.delivery.publish_soon(COMMANDS.name, command.user_id, command)
        self.delivery.flush()

    def accepted(self) -> int:
        query = "SELECT count(*) FROM ledger WHERE state = %s AND command_id = ANY(%s)"
        return int(self.delivery.rows(query, LedgerState.ACCEPTED, self.ids)[0][0])

    def log(self) -> str:
        return (self.delivery.directory / "senders.log").read_text()

    def mailed(self) -> Counter[str]:
        return Counter(parsed(mail.raw)["X-Ebbtide-Command"] for mail in self.delivery.sink.messages())


@pytest.fixture
def disk_of_tables(servers: RealServers, tmp_path: Path) -> Iterator[FullDisk]:
    """Only the tables are on the small disk: the server lives on, and refuses what needs space."""
    with small_disk(tmp_path / "disk", TABLES_MIB) as disk, own_postgres(servers, tmp_path / "server") as server:
        (disk / "tables").mkdir(mode=0o700)
        server.own(disk / "tables")
        server.change(f"CREATE TABLESPACE small LOCATION '{disk / 'tables'}'")
        server.change("CREATE DATABASE small TABLESPACE small")
        url = server.url.replace("/ebbtide", "/small")
        yield from running(servers, url, tmp_path, server, disk)


@pytest.fixture
def disk_of_server(servers: RealServers, tmp_path: Path) -> Iterator[FullDisk]:
    """Everything is on the small disk: the server ends itself, and somebody has to start it again."""
    with (
        small_disk(tmp_path / "disk", SERVER_MIB) as disk,
        own_postgres(servers, disk / "server", in_memory=False) as server,
    ):
        yield from running(servers, server.url, tmp_path, server, disk)


def running(servers: RealServers, url: str, folder: Path, server: OwnPostgres, disk: Path) -> Iterator[FullDisk]:
    have_topics(servers.kafka)
    migrate(url)
    for delivery in harbour(servers.kafka, url, folder):
        made = FullDisk(server, disk, delivery)
        made.publish(MAILS)
        delivery.start_process()
        wait_until(lambda made=made: made.accepted() >= MAILS // 6, "mails are going out")
        yield made


def needs_space(server: OwnPostgres) -> None:
    """Makes the server begin another file of its write-ahead log."""
    with suppress(psycopg.OperationalError):
        server.ask("SELECT pg_logical_emit_message(false, 'test', 'next'), pg_switch_wal()")


def outages(log: str) -> dict[str, int]:
    """How many outages began, and how many have ended: each part of delivery notes its own."""
    return {what: log.count(f"timescale_{what}") for what in ("away", "back")}


def require_all_sent_once(full: FullDisk) -> None:
    wait_until(lambda: full.accepted() == len(full.ids), "every mail is accepted")
    mailed = full.mailed()
    assert {mailed[command] for command in full.ids} == {1}
    wait_until(lambda: outages(full.log())["away"] == outages(full.log())["back"] >= 1, "each outage has ended")
    log = full.log()
    assert log.rindex("timescale_back") > log.rindex("timescale_away"), log


def test_a_full_disk_of_the_tables_is_waited_out(disk_of_tables: FullDisk) -> None:
    full, ballast = disk_of_tables, fill(disk_of_tables.disk)
    full.publish(MAILS)
    wait_until(lambda: "timescale_away" in full.log(), "delivery says so")
    assert "DiskFull" in full.log()
    wait_until(lambda: full.server.log.read_text().count("No space left") >= REFUSED, "it goes on trying")
    assert full.server.process() is not None
    ballast.unlink()
    require_all_sent_once(full)


def test_a_server_that_ended_for_want_of_space_is_waited_for(disk_of_server: FullDisk) -> None:
    full, ballast = disk_of_server, fill(disk_of_server.disk)
    full.publish(MAILS)
    wait_until(lambda: needs_space(full.server) or full.server.process() is None, "the server ends itself")
    wait_until(lambda: "timescale_away" in full.log(), "delivery says so")
    ballast.unlink()
    full.server.start()
    require_all_sent_once(full)
