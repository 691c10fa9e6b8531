"""What a dead worker began: in doubt once its lease has ended, while Kafka still counts it as a member."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until

from schemas.topics import COMMANDS

pytestmark = pytest.mark.servers

LEASE_S = 3.0
WITHIN_S = 5.0
SESSION_S = 15
"""Well above both: what is seen within them, the group cannot have told."""


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    yield from harbour(servers.kafka, database_url, tmp_path, lease_s=LEASE_S, session_timeout_ms=SESSION_S * 1000)


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


def test_a_worker_without_a_lease_takes_little_until_it_has_one(
    delivery: Harbour, capfd: pytest.CaptureFixture[str]
) -> None:
    delivery.start()
    wait_until(lambda: len(held_by(delivery)) == 1, "the worker")
    with psycopg.connect(delivery.database_url, autocommit=True) as connection:
        connection.execute(
            """CREATE FUNCTION too_late() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN NEW.lease_until := now() - interval '1 second'; RETURN NEW; END $$"""
        )
        connection.execute(
            """CREATE TRIGGER too_late BEFORE INSERT OR UPDATE ON ledger_workers
               FOR EACH ROW EXECUTE FUNCTION too_late()"""
        )
        connection.execute("UPDATE ledger_workers SET owner = owner")
        template = delivery.publish_template()
        commands = [a_command(delivery.publish_user(), template) for _ in range(20)]
        for command in commands:
            delivery.publish_soon(COMMANDS.name, command.user_id, command)
        delivery.flush()
        logged = list[str]()

        def tried(count: int) -> bool:
            logged.append(capfd.readouterr().out)
            return "".join(logged).count("attempt_begun_elsewhere") >= count

        wait_until(lambda: tried(1), "the first begin")
        since = time.monotonic()
        wait_until(lambda: tried(20 + 4), "each once, then one at a time")
        assert time.monotonic() - since > 1.0
        connection.execute("DROP TRIGGER too_late ON ledger_workers")
    for command in commands:
        delivery.wait_for(command, "accepted")


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
