"""What a dead worker began: in doubt once its lease has ended, while Kafka still counts it as a member."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until

from infra.postgres.migrate import migrate
from schemas.topics import COMMANDS

pytestmark = pytest.mark.servers

LEASE_S = 3.0
WITHIN_S = 5.0


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    migrate(database_url)
    yield from harbour(servers.kafka, database_url, tmp_path, lease_s=LEASE_S, session_timeout_ms=45_000)


@contextmanager
def silent_receiver(port: int) -> Iterator[None]:
    """A mail server that answers every command, and the final dot never."""
    with socket.create_server(("127.0.0.1", port)) as listener:

        def serve(client: socket.socket) -> None:
            with client, client.makefile("rb") as orders, suppress(OSError):
                client.sendall(b"220 ready\r\n")
                for order in orders:
                    client.sendall(b"354 go on\r\n" if order.startswith(b"DATA") else b"250 ok\r\n")
                    if order.startswith(b"DATA"):
                        while orders.readline():
                            pass

        def accept() -> None:
            with suppress(OSError):  # closed at the end of the test
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def held_by(delivery: Harbour) -> set[str]:
    return {owner for (owner,) in delivery.rows("SELECT owner FROM ledger_partitions")}


def test_what_a_dead_worker_began_is_in_doubt_before_the_group_knows_of_its_death(delivery: Harbour) -> None:
    delivery.sink.stop()
    with silent_receiver(delivery.sink.port):
        delivery.start_process()
        wait_until(lambda: len(held_by(delivery)) == 1, "the first worker")
        [dead] = held_by(delivery)
        delivery.start()
        wait_until(lambda: len(held_by(delivery)) == 2, "two workers share the partitions")
        template = delivery.publish_template()
        begun = "SELECT count(*) FROM ledger WHERE state = 'started' AND owner = %s"

        def first_worker_is_busy() -> bool:
            user = delivery.publish_user()
            delivery.publish(COMMANDS.name, user, a_command(user, template))
            return delivery.rows(begun, dead)[0][0] > 0

        wait_until(first_worker_is_busy, "mails of the first worker")
        delivery.end_process(signal.SIGKILL)
        killed = time.monotonic()
        doubted = "SELECT count(*) FROM ledger WHERE state = 'in_doubt' AND reason = 'worker_lost' AND owner = %s"
        wait_until(lambda: delivery.rows(doubted, dead)[0][0] > 0, "its mails in doubt")
        took = time.monotonic() - killed
        assert delivery.rows(begun, dead) == [(0,)]
        assert delivery.rows("SELECT count(*) FROM ledger WHERE state = 'in_doubt' AND owner <> %s", dead) == [(0,)]
        delivery.stop()
    assert took < LEASE_S + WITHIN_S
