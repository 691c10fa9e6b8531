"""The resolver fails, or a policy matches no mail server: that domain's mail waits, with no demand forgotten."""

import random
import socket
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from drivers.dns_server import SERVFAIL, SILENT, Zones
from drivers.mail_certificates import Authority
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, wait_until
from drivers.serving import serving
from drivers.shaped_delivery import FREE, in_state, kept, limited, publish, shape, shaped, states, zones_of

from schemas.commands import SendCommand
from schemas.vocabulary import LedgerState

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

SMTP, HTTPS = 25, 443
MAILS = 10
FINE, FAILING, AWAY, PROVEN, STRICT = (
    "fine.example",
    "failing.example",
    "away.example",
    "proven.example",
    "strict.example",
)
WAITING = (FAILING, AWAY, PROVEN, STRICT)
POLICY = b"version: STSv1\nmode: enforce\nmx: mx.other.example\nmax_age: 86400\n"
SHAPING = FREE + "enable_dane = true\n"


class PolicyHandler(BaseHTTPRequestHandler):
    """Answers with a policy that matches no mail server of the domain."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(POLICY)))
        self.end_headers()
        self.wfile.write(POLICY)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def policy_host(host: str, context: ssl.SSLContext) -> Iterator[None]:
    """The web server of a policy, in a thread."""
    server = ThreadingHTTPServer((host, HTTPS), PolicyHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield


@pytest.fixture
def host() -> str:
    """A loopback address whose ports of SMTP and HTTPS are free."""
    address = f"127.{random.randint(20, 250)}.{random.randint(0, 250)}.{random.randint(1, 250)}"
    try:
        for port in (SMTP, HTTPS):
            socket.create_server((address, port)).close()
    except PermissionError:
        pytest.skip(f"ports {SMTP} and {HTTPS} need root or net.ipv4.ip_unprivileged_port_start={SMTP}")
    return address


def broken(host: str) -> Zones:
    """One domain whose lookups answer; one without answer each for MX at all, at first and for TLSA; one policy."""
    zones = zones_of(FINE, PROVEN, host=host)
    zones.put(FAILING, "MX", SERVFAIL)
    zones.put(AWAY, "MX", SILENT)
    for name in (".", PROVEN, f"mx.{PROVEN}"):
        zones.signed.add(name)
    zones.put(f"_25._tcp.mx.{PROVEN}", "TLSA", SERVFAIL, signed=True)
    zones.put(STRICT, "MX", f"10 mx.{FINE}.")
    zones.put(f"_mta-sts.{STRICT}", "TXT", '"v=STSv1; id=one;"')
    zones.host(f"mta-sts.{STRICT}", host)
    return zones


def mend(zones: Zones) -> None:
    """All lookups answer; the policy and the record of the certificate are gone."""
    for domain in (FAILING, AWAY):
        zones.put(domain, "MX", f"10 mx.{FINE}.")
    zones.put(f"_25._tcp.mx.{PROVEN}", "TLSA", signed=True)


def said(delivery: Harbour) -> Counter[tuple[str, int]]:
    """What the mails wait for, each with its attempts."""
    return Counter((detail.split(";")[0], attempt) for detail, attempt in limited(delivery))


def looked_up(delivery: Harbour) -> Counter[tuple[str, int]]:
    """The domains whose lookup mails wait for, with their attempts: a mail that comes later stands behind the first."""
    found = Counter[tuple[str, int]]()
    for (words, attempt), mails in said(delivery).items():
        found[words.removeprefix("behind ").removeprefix("lookup "), attempt] += mails
    return found


def test_mail_waits_for_the_answers_of_the_dns_and_goes_out_when_they_are_back(
    servers: RealServers, database_url: str, tmp_path: Path, host: str
) -> None:
    zones, authority = broken(host), Authority(tmp_path)
    listener = f'[[listener]]\nhost = "{host}"\nnames = ["mx.{FINE}"]\n'
    with (
        policy_host(host, authority.vouch_for(f"mta-sts.{STRICT}").context),
        shaped(servers, database_url, tmp_path, zones, listener, route="direct", smtp_port=SMTP) as delivery,
    ):
        shape(delivery, SHAPING)
        delivery.sink.start()
        delivery.start_process(SSL_CERT_FILE=str(authority.file))
        commands = {domain: publish(delivery, MAILS - 1, domain) for domain in (*WAITING, FINE)}
        first = {(f"lookup {domain}", 0) for domain in WAITING}
        wait_until(lambda: said(delivery).keys() >= first, "mails wait for each of the lookups that fail")
        for domain, of_domain in commands.items():
            of_domain += publish(delivery, 1, domain)
        published = [command for of_domain in commands.values() for command in of_domain]
        wait_until(lambda: accepted(delivery, commands[FINE]), "the mails of the domain that all is well with")
        lookups = {(domain, 0): MAILS for domain in WAITING}
        try:
            wait_until(lambda: looked_up(delivery) == lookups, "each of the other mails waits for its lookup")
        except AssertionError as failure:
            failure.add_note(f"they said {said(delivery)}")
            raise

        assert took(delivery, published) == {FINE: MAILS}

        mend(zones)
        back = [command for domain in (FAILING, AWAY, PROVEN) for command in commands[domain]]
        wait_until(lambda: retried(delivery, back), "the mails whose lookups answer now")

        assert took(delivery, published) == dict.fromkeys((FINE, FAILING, AWAY, PROVEN), MAILS)
        assert states(delivery, back) == {(LedgerState.ACCEPTED, 1)}
        assert states(delivery, commands[STRICT]) == {(LedgerState.ADMITTED, 0)}


def accepted(delivery: Harbour, commands: list[SendCommand]) -> bool:
    return in_state(delivery, commands, LedgerState.ACCEPTED) == len(commands)


def retried(delivery: Harbour, commands: list[SendCommand]) -> bool:
    """Whether these mails were taken; else a person makes them due, so that the test need not wait for a minute."""
    if not accepted(delivery, commands):
        done = delivery.command("senders", "retry-now", "all", "--reason", "the DNS is back", "--by", "ada")
        assert done.returncode == 0, done.stderr
    return accepted(delivery, commands)


def took(delivery: Harbour, commands: Sequence[SendCommand]) -> Counter[str]:
    """How many mails were taken, by domain; each once."""
    mails = kept(delivery, commands)
    assert len({each.command for each in mails}) == len(mails)
    return Counter(each.rcpt_to.partition("@")[2] for each in mails)
