"""DANE by a real validating resolver: what is signed must be proven, what is forged gets no mail."""

import hashlib
from functools import partial
from pathlib import Path

import pytest
from drivers.mail_certificates import Authority, ServerCertificate
from drivers.mail_receiver import Receiver, running
from drivers.signed_dns import SignedRoot, validating

from schemas.vocabulary import LedgerState
from senders.bounces.classifier import load_classifier
from senders.channels.channel import NoDestination, Unreachable
from senders.channels.dns.direct import direct_channel
from senders.channels.dns.mail_domains import MailDomains
from senders.channels.dns.resolver import DnsResolver
from senders.channels.dns.sts import StsPolicies
from senders.channels.smtp.connector import Connector

pytestmark = pytest.mark.servers
ANOTHER = hashlib.sha256(b"another").hexdigest()


@pytest.fixture
def certificate(tmp_path: Path) -> ServerCertificate:
    return Authority(tmp_path).vouch_for("mx.safe.example")


def records(receiver: Receiver, tlsa: str) -> str:
    return f"""
safe.example. MX 10 mx.safe.example.
mx.safe.example. A 127.0.0.1
_{receiver.port}._tcp.mx.safe.example. TLSA 3 0 1 {tlsa}
null.example. MX 0 .
"""


def finder(port: int, receiver: Receiver) -> MailDomains:
    resolver = DnsResolver([("127.0.0.1", port)], lookup_s=10)
    policies = StsPolicies(resolver, allow_private=True)
    return MailDomains(resolver, policies, allow_private=True, port=receiver.port)


async def send(domains: MailDomains) -> LedgerState:
    opener = Connector(load_classifier(), allow_real_mail=False)
    client = direct_channel(partial(domains.find, "safe.example"), "safe.example", opener).client()
    try:
        return (await client.send("hello@harbour.example", "ann@safe.example", b"Subject: x\r\n\r\nx\r\n")).state
    finally:
        await client.close()


async def test_mail_goes_to_a_host_that_proves_itself_by_its_signed_record(
    certificate: ServerCertificate, tmp_path: Path
) -> None:
    async with running(Receiver(tls=certificate.context)) as receiver:
        root = SignedRoot.of(records(receiver, hashlib.sha256(certificate.der).hexdigest()))
        async with validating(root, tmp_path) as port:
            domains = finder(port, receiver)
            assert await send(domains) is LedgerState.ACCEPTED
            assert domains.dane_works is True
            with pytest.raises(NoDestination):
                await domains.find("null.example")
            with pytest.raises(NoDestination):
                await domains.find("nowhere.example")
    assert receiver.secured_mails == 1


async def test_a_host_that_its_signed_record_does_not_name_gets_no_mail(
    certificate: ServerCertificate, tmp_path: Path
) -> None:
    async with (
        running(Receiver(tls=certificate.context)) as receiver,
        validating(SignedRoot.of(records(receiver, ANOTHER)), tmp_path) as port,
    ):
        with pytest.raises(Unreachable, match="TLSA"):
            await send(finder(port, receiver))
    assert receiver.mails == 0


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [("_{port}._tcp.mx.safe.example", "TLSA", f"3 0 1 {ANOTHER}"), ("mx.safe.example", "A", "127.0.0.2")],
)
async def test_a_forged_record_makes_the_mail_wait(
    certificate: ServerCertificate, tmp_path: Path, name: str, kind: str, value: str
) -> None:
    async with running(Receiver(tls=certificate.context)) as receiver:
        root = SignedRoot.of(records(receiver, hashlib.sha256(certificate.der).hexdigest()))
        root.forge(name.format(port=receiver.port), kind, value)
        async with validating(root, tmp_path) as port:
            with pytest.raises(Unreachable, match="lookups fail"):
                await send(finder(port, receiver))
    assert receiver.mails == 0
