"""A real mail server as the receiver: Postfix takes mails in one flight over TLS, and they arrive as they were sent."""

import asyncio
from pathlib import Path

import pytest
from drivers.mail_certificates import Authority
from drivers.mail_receiver import Receiver, running
from drivers.postfix_receiver import postfix_receiver

from schemas.vocabulary import DeliveryReason, LedgerState, ReplyClass
from senders.bounces.classifier import load_classifier
from senders.channels.smtp.channel import SmtpChannel
from senders.channels.smtp.connector import Connector
from senders.channels.smtp.route import MailHost, MailRoute
from senders.shaping.keys import TlsPolicy

pytestmark = pytest.mark.servers
ARRIVES_WITHIN_S = 60
HEADERS = b"""From: hello@harbour.example\r
To: ann@example.net\r
Date: Sun, 29 Nov 2026 04:20:27 +0000\r
Message-ID: <%b@harbour.example>\r
Subject: %b\r
\r
"""
"""All that Postfix would add."""


async def test_postfix_takes_mails_in_one_flight_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain = authority.vouch_for("mx.example").file
    body = b".dotted\r\n..twice\r\n" + b"x" * 70 + b"\r\n" * 2
    mails = [HEADERS % (name, name) + body for name in (f"mail-{number}".encode() for number in range(20))]
    large = HEADERS % (b"large", b"large") + (b"y" * 70 + b"\r\n") * 30_000
    async with running(Receiver()) as behind:
        with postfix_receiver(tmp_path / "postfix", chain, behind.port) as port:
            host = MailHost("mx.example", port, tls=TlsPolicy.VERIFIED, addresses=("127.0.0.1",))
            opener = Connector(load_classifier(), allow_real_mail=False, ca_file=authority.file)
            client = SmtpChannel.to(MailRoute("site.example", (host,)), opener).client()
            results = []
            for mail in [*mails, large]:
                results.append(await client.send("hello@harbour.example", "ann@example.net", mail))
                refused = await client.send("hello@harbour.example", "bad@example.net", mail)
                assert (refused.state, refused.reason, refused.hard) == (
                    LedgerState.REFUSED,
                    ReplyClass.INVALID_RECIPIENT,
                    True,
                )
            too_large = await client.send("hello@harbour.example", "ann@example.net", large * 6)
            await client.close()
            assert {result.state for result in results} == {LedgerState.ACCEPTED}
            assert (too_large.state, too_large.reason) == (LedgerState.FAILED, DeliveryReason.TOO_LARGE)
            async with asyncio.timeout(ARRIVES_WITHIN_S):
                while len(behind.contents) < len(results):
                    await asyncio.sleep(0.1)
    log = (tmp_path / "postfix/mail.log").read_text()
    assert "ehlo=2 starttls=1 mail=42 rcpt=21/42 bdat=21/42 rset=21 quit=1" in log
    arrived = {content[content.index(b"From:") :] for content in behind.contents}
    assert arrived == {mail.replace(b"\r\n.", b"\r\n..") for mail in [*mails, large]}
