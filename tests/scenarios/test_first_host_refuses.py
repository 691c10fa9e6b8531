"""The preferred mail server of a domain refuses: the next one gets the mail at once, and no attempt is counted."""

import errno
import random
import socket
import socketserver
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from drivers.dns_server import Zones
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.serving import serving
from drivers.shaped_delivery import FREE, in_state, kept, publish, shape, shaped, states, zones_of

from schemas.vocabulary import LedgerState

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

SMTP = 25
MAILS = 20
GREETINGS = {"away.example": None, "busy.example": b"421 4.3.2 too busy", "none.example": b"554 No SMTP service here"}
"""What the preferred server of each domain says; None listens to nobody."""


class Refusing(socketserver.ThreadingTCPServer):
    """Greets with a refusal and closes."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, host: str, greeting: bytes) -> None:
        self.greeting = greeting + b"\r\n"
        self.greeted: list[float] = []
        super().__init__((host, SMTP), _Refusal)


class _Refusal(socketserver.StreamRequestHandler):
    server: Refusing

    def handle(self) -> None:
        self.server.greeted.append(time.time())
        self.wfile.write(self.server.greeting)


@contextmanager
def refusing(host: str, greeting: bytes) -> Iterator[Refusing]:
    """Such a server in a thread."""
    server = Refusing(host, greeting)
    with serving(server):
        yield server


@pytest.fixture
def network() -> str:
    """A network of loopback addresses whose port of SMTP is free."""
    for _ in range(20):
        network = f"127.{random.randint(20, 250)}.{random.randint(0, 250)}"
        try:
            with socket.create_server((f"{network}.9", SMTP)):
                return network
        except PermissionError:
            pytest.skip(f"port {SMTP} needs root or net.ipv4.ip_unprivileged_port_start={SMTP}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError("no free network")


def two_hosts_each(network: str) -> Zones:
    """The domains, each with a server of its own that refuses and one that takes mail and is their common second."""
    zones = zones_of()
    zones.host("second.example", f"{network}.9")
    for number, domain in enumerate(GREETINGS, start=1):
        zones.put(domain, "MX", f"10 first.{domain}.", "20 second.example.")
        zones.host(f"first.{domain}", f"{network}.{number}")
    return zones


def test_the_next_mail_server_takes_the_mail_at_once_and_no_attempt_is_counted(
    servers: RealServers, database_url: str, tmp_path: Path, network: str
) -> None:
    second = f'[[listener]]\nhost = "{network}.9"\nnames = ["second.example"]\n'
    with (
        ExitStack() as stack,
        shaped(
            servers, database_url, tmp_path, two_hosts_each(network), second, route="direct", smtp_port=SMTP
        ) as delivery,
    ):
        firsts = {
            domain: stack.enter_context(refusing(f"{network}.{number}", greeting))
            for number, (domain, greeting) in enumerate(GREETINGS.items(), start=1)
            if greeting is not None
        }
        shape(delivery, FREE)
        delivery.sink.start()
        delivery.start_process()
        commands = [command for domain in GREETINGS for command in publish(delivery, MAILS, domain)]
        wait_until(lambda: in_state(delivery, commands, LedgerState.ACCEPTED) == len(commands), "all mails")

        took = kept(delivery, commands)
        assert Counter(each.rcpt_to.partition("@")[2] for each in took) == dict.fromkeys(GREETINGS, MAILS)
        assert len({each.command for each in took}) == len(commands)
        assert states(delivery, commands) == {(LedgerState.ACCEPTED, 1)}
        for domain, first in firsts.items():
            assert first.greeted, "the preferred server was asked"
            assert first.greeted[0] < min(each.at for each in took if each.rcpt_to.endswith(domain))
