"""Mails as bytes: what a standard parser reads back, and what is refused."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import pytest

from senders.message import HeaderError, Mail, Sender, compose

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def mail(**changes: object) -> Mail:
    fields: dict[str, object] = {
        "command_id": "0123456789abcdef0123456789abcdef",
        "sender": Sender("CD Harbour", "hello@harbour.example"),
        "to": "ann@example.net",
        "subject": "Your cart",
        "html": "<p>Hello</p>",
        "text": "Hello",
        "date": NOW,
        "domain": "harbour.example",
    }
    return Mail(**(fields | changes))  # type: ignore[arg-type]


def parsed(composed: bytes) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(composed, policy=policy.SMTP))


def test_a_mail_has_the_headers_that_receivers_ask_for() -> None:
    message = parsed(compose(mail()))
    assert message["From"] == "CD Harbour <hello@harbour.example>"
    assert message["To"] == "ann@example.net"
    assert message["Subject"] == "Your cart"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"] == "<0123456789abcdef0123456789abcdef@harbour.example>"
    assert message["X-Ebbtide-Command"] == "0123456789abcdef0123456789abcdef"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_the_message_id_is_the_same_for_every_attempt() -> None:
    later = NOW.replace(hour=9)
    assert parsed(compose(mail()))["Message-ID"] == parsed(compose(mail(date=later)))["Message-ID"]


@pytest.mark.parametrize("subject", ["Über alles: 20 % ❤", "x" * 900, "=?utf-8?q?spoof?=", "a " * 300, " edges "])
def test_a_subject_that_plain_ascii_cannot_carry_reads_back_the_same(subject: str) -> None:
    composed = compose(mail(subject=subject))
    assert str(parsed(composed)["Subject"]) == subject
    assert max(map(len, composed.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "Hello\r\nBcc: all@example.net"},
        {"subject": "Hello\nBcc: all@example.net"},
        {"to": "ann@example.net\r\nBcc: all@example.net"},
        {"sender": Sender("Shop\r\nBcc: all@example.net", "hello@harbour.example")},
        {"extra": (("List-Unsubscribe", "<https://x.example>\r\nBcc: all@example.net"),)},
        {"subject": "nul\x00"},
        {"subject": "line\u2028separator"},
    ],
)
def test_a_value_that_could_end_its_header_is_refused_and_not_repeated(changes: dict[str, object]) -> None:
    with pytest.raises(HeaderError) as refused:
        compose(mail(**changes))
    assert "Bcc" not in str(refused.value)


def test_an_address_beyond_ascii_is_refused_because_smtputf8_is_not_spoken() -> None:
    with pytest.raises(HeaderError, match="SMTPUTF8"):
        compose(mail(to="zoë@example.net"))


@pytest.mark.parametrize("text", ["", "not an address", "a@b@c", "Shop <>", "one@x.example, two@x.example"])
def test_a_sender_must_be_one_mailbox(text: str) -> None:
    with pytest.raises(HeaderError, match="From"):
        Sender.parse(text)


def test_a_display_name_keeps_its_letters() -> None:
    sender = Sender.parse('"Läden, GmbH" <hello@harbour.example>')
    assert parsed(compose(mail(sender=sender)))["From"].addresses[0].display_name == "Läden, GmbH"
