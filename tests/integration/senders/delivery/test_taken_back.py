"""A mail whose server ended the connection before it took anything: taken back, and found again at once."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until

from infra.postgres.migrate import migrate
from schemas.topics import COMMANDS
from schemas.vocabulary import TRANSACTIONAL, LedgerState

pytestmark = pytest.mark.servers

SOON_S = 20.0
"""Less than the time after which the whole queue is read in any case."""
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    migrate(database_url)
    yield from harbour(servers.kafka, database_url, tmp_path)


@contextmanager
def closing_receiver(port: int) -> Iterator[threading.Event]:
    """A mail server that takes one connection, and closes it at its first mail once the event is set."""
    close = threading.Event()
    with socket.create_server(("127.0.0.1", port)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client, client.makefile("rb") as orders:
                client.sendall(b"220 ready\r\n")
                for order in orders:
                    if order.upper().startswith(b"MAIL"):
                        close.wait()
                        listener.close()
                        client.sendall(b"421 4.3.2 closing\r\n")
                        return
                    client.sendall(b"250 ok\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield close
        finally:
            close.set()
            thread.join(SOON_S)


def test_a_mail_taken_back_is_found_at_once_although_a_later_one_was_read_meanwhile(
    delivery: Harbour, capfd: pytest.CaptureFixture[str]
) -> None:
    delivery.sink.stop()
    with closing_receiver(delivery.sink.port) as close, psycopg.connect(delivery.database_url) as other:
        delivery.start()
        user, template = delivery.publish_user(), delivery.publish_template()
        first, later = (a_command(user, template, purpose=TRANSACTIONAL) for _ in range(2))
        delivery.publish(COMMANDS.name, user, first)
        delivery.wait_for(first, LedgerState.STARTED)
        other.execute("SELECT FROM ledger_queue FOR UPDATE")
        close.set()
        wait_until(lambda: delivery.rows(BLOCKED)[0][0] > 0, "the first is being taken back")
        delivery.publish(COMMANDS.name, user, later)
        wait_until(lambda: "relay_away" in capfd.readouterr().out, "the later one is read, and finds no server")
        other.commit()
    delivery.sink.start()
    back_s = time.monotonic()
    for command in (later, first):
        delivery.wait_for(command, LedgerState.ACCEPTED, timeout_s=SOON_S)
    assert time.monotonic() - back_s < SOON_S
