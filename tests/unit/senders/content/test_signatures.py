"""Signatures as another verifier reads them. dkimpy reads them in the property tests."""

import random
from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from drivers import mailauth

from senders.content.dkim import Signer, dns_record
from senders.content.message import Mail, Mailbox, compose
from senders.content.signatures import SigningKey

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
DOMAIN = "harbour.example"


@cache
def signer() -> Signer:
    keys = {"s1": rsa.generate_private_key(65537, 2048), "s2": ed25519.Ed25519PrivateKey.generate()}
    return Signer(DOMAIN, [SigningKey(DOMAIN, selector, key) for selector, key in keys.items()])


def a_mail(chance: random.Random) -> bytes:
    def text(longest: int) -> str:
        return "".join(chance.choices(" \t\r\n.=From <a>é€😀\u2028-_", k=chance.randrange(longest)))

    mail = Mail(
        command_id="ab" * 16,
        sender=Mailbox(text(90).replace("\r", "").replace("\n", ""), f"hello@{DOMAIN}"),
        to="ann@example.net",
        subject=text(200).replace("\r", "").replace("\n", ""),
        html=[text(3000), text(100)],
        text=[text(3000)],
        date=NOW,
        domain=DOMAIN,
        extra=(
            ("List-Id", f"<marketing.{DOMAIN}>"),
            ("List-Unsubscribe", f"<https://{DOMAIN}/{'u' * chance.randrange(900)}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("Feedback-ID", "hello:send:marketing:harbour"),
        ),
    )
    return signer().sign(compose(mail), DOMAIN, NOW)


def test_mailauth_finds_both_signatures_right_and_sees_a_change() -> None:
    chance = random.Random(7)
    mails = [a_mail(chance) for _ in range(200)]
    changed = mails[0].replace(b"hello:send", b"hello:sent")
    records = {f"{key.selector}._domainkey.{DOMAIN}": dns_record(key.key) for key in signer().keys}
    *found, of_changed = mailauth.verdicts([*mails, changed], records)
    assert found == [[("rsa-sha256", "s1", "pass"), ("ed25519-sha256", "s2", "pass")]] * len(mails)
    assert [result for *_, result in of_changed] == ["fail", "fail"]
