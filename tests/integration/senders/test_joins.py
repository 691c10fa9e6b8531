"""Workers that join and leave while the receiver keeps mails waiting: who began a mail ends it, without a doubt."""

import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from drivers.limits import HANGS_AFTER_S
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until
from drivers.slow_receiver import in_place_of_the_sink

from schemas.codec import partition_for
from schemas.topics import COMMANDS, DEMO_PARTITIONS

pytestmark = pytest.mark.servers

LEASE_S = 2.0


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    yield from harbour(servers.kafka, database_url, tmp_path, connections=DEMO_PARTITIONS + 4, lease_s=LEASE_S)


class GatedReceiver(socketserver.ThreadingTCPServer):
    """A mail server that answers the final dot of mails to `held+…` only once `gate` is set."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int) -> None:
        self.gate = threading.Event()
        self.at_the_dot: list[str] = []
        self.taken: list[str] = []
        super().__init__(("127.0.0.1", port), _GatedHandler)


class _GatedHandler(socketserver.StreamRequestHandler):
    server: GatedReceiver

    def handle(self) -> None:
        with suppress(OSError):  # the worker is gone
            self._serve()

    def _serve(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        address = ""
        while line := self.rfile.readline():
            if line.upper().startswith(b"RCPT"):
                address = line.decode().partition("<")[2].partition(">")[0]
            elif line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                self.server.at_the_dot.append(address)
                if address.startswith("held+"):
                    self.server.gate.wait(HANGS_AFTER_S)
                self.server.taken.append(address)
            self.wfile.write(b"250 ok\r\n")


@contextmanager
def gated_receiver(delivery: Harbour) -> Iterator[GatedReceiver]:
    with in_place_of_the_sink(delivery, GatedReceiver) as server:
        try:
            yield server
        finally:
            server.gate.set()


def one_command_each_partition(delivery: Harbour, template: str, local_part: str) -> None:
    """All of one trigger: earlier tests may have left others on the topic."""
    left = set(range(have_topics(delivery.kafka)))
    while left:
        user = delivery.publish_user(local_part)
        partition = partition_for(user.encode(), have_topics(delivery.kafka))
        if partition in left:
            left.discard(partition)
            delivery.publish(COMMANDS.name, user, a_command(user, template, trigger="joins"))


def rows(delivery: Harbour, query: str) -> Any:
    return delivery.rows(query)[0][0]


def answers(delivery: Harbour) -> Counter[Any]:
    return Counter(delivery.rows("SELECT state, attempt FROM ledger WHERE trigger = 'joins'"))


BEGUN_BY_ANOTHER = """SELECT count(*) FROM ledger JOIN ledger_partitions AS p USING (partition)
    WHERE state = 'started' AND ledger.owner <> p.owner"""


def test_a_join_and_a_leave_among_living_workers_put_nothing_in_doubt_and_count_no_attempt(delivery: Harbour) -> None:
    count = have_topics(delivery.kafka)
    template = delivery.publish_template()
    with gated_receiver(delivery) as receiver:
        delivery.start_process()
        wait_until(lambda: rows(delivery, "SELECT count(*) FROM ledger_partitions") == count, "the first worker")
        first = rows(delivery, "SELECT min(owner) FROM ledger_partitions")
        one_command_each_partition(delivery, template, "held")
        wait_until(lambda: len(receiver.at_the_dot) == count, "a mail of each partition waits for its answer")

        delivery.start()
        owners = "SELECT count(DISTINCT owner) FROM ledger_partitions"
        wait_until(lambda: rows(delivery, owners) == 2, "a second worker joins")
        moved = f"SELECT count(*) FROM ledger_partitions WHERE owner <> '{first}'"
        wait_until(lambda: rows(delivery, moved) == count // 2, "it has half of the partitions")
        assert rows(delivery, BEGUN_BY_ANOTHER) == count // 2

        one_command_each_partition(delivery, template, "quick")
        wait_until(lambda: answers(delivery)["accepted", 1] == count, "both workers send what comes meanwhile")
        lease = f"SELECT lease_until > (SELECT max(taken_at) FROM ledger_partitions) + interval '{3 * LEASE_S} s'"
        wait_until(lambda: rows(delivery, f"{lease} FROM ledger_workers WHERE owner = '{first}'"), "leases go on")
        assert answers(delivery) == {("started", 1): count, ("accepted", 1): count}

        receiver.gate.set()
        wait_until(lambda: answers(delivery) == {("accepted", 1): 2 * count}, "each mail has its answer")
        delivery.stop()
        wait_until(lambda: rows(delivery, owners) == 1, "the first worker has all partitions again")
        told = "SELECT count(*) FROM deliveries WHERE trigger = 'joins'"
        wait_until(lambda: rows(delivery, told) == 2 * count, "each outcome is recorded")
    assert max(Counter(receiver.taken).values()) == 1
    assert delivery.rows("SELECT DISTINCT kind, attempt FROM deliveries WHERE trigger = 'joins'") == [("accepted", 1)]
