"""Mails of commands. One that cannot be made fails with its reason, which contains none of the user's data."""

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from schemas.commands import SendCommand
from schemas.vocabulary import DeliveryReason
from senders.content.dkim import Signer
from senders.content.mail_builder import MailBuilder
from senders.content.message import Mailbox
from senders.content.render import TemplateError, parse_template

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


@cache
def builder() -> MailBuilder:
    signer = Signer("harbour.example", "s1", rsa.generate_private_key(65537, 2048))
    return MailBuilder(signer, Mailbox("CD Harbour", "hello@harbour.example"))


def made(template: str, to: str = "ann@example.net", **data: object) -> bytes:
    command = SendCommand(
        id="ab" * 16,
        trigger="hello",
        rule_hash="",
        occurrence="o",
        step="hello",
        user_id="u1",
        template="hello",
        template_hash="",
        purpose="transactional",
        data=data,
        decided_at=NOW,
        expires_at=NOW + timedelta(hours=1),
    )
    return builder().build(command, to, None, parse_template("hello", template), NOW)


PLAIN = "---\nsubject: '{{ word }}'\n---\nx\n--- text ---\nx\n"


@pytest.mark.parametrize(
    ("to", "word", "reason"),
    [
        ("zoë@example.net", "x", DeliveryReason.ADDRESS),
        ("ann\u200b@example.net", "x", DeliveryReason.ADDRESS),
        ("ann@example.net\r\nBcc: all@example.net", "x", DeliveryReason.ADDRESS),
        ("ann@example.net", "\ud800", DeliveryReason.TEMPLATE_INVALID),
        ("ann@example.net", "\x00", DeliveryReason.UNDEFINED),
    ],
)
def test_a_mail_that_cannot_be_composed_fails_with_the_reason(to: str, word: str, reason: DeliveryReason) -> None:
    with pytest.raises(TemplateError) as refused:
        made(PLAIN, to, word=word)
    assert refused.value.reason is reason
    assert "example.net" not in refused.value.detail


def test_mail_goes_to_an_older_address_with_a_domain_beyond_ascii() -> None:
    assert b"\r\nTo: ann@xn--bcher-kva.example\r\n" in made(PLAIN, "ann@bücher.example", word="x")
