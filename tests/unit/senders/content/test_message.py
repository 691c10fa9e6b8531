"""Mails as bytes: what a standard parser reads back, and what is refused."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from typing import cast

import pytest

from senders.content.headers import HeaderError
from senders.content.message import Mail, Mailbox
from senders.content.message import compose as message_of

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def mail(**changes: object) -> Mail:
    fields: dict[str, object] = {
        "command_id": "0123456789abcdef0123456789abcdef",
        "sender": Mailbox("CD Harbour", "hello@harbour.example"),
        "to": "ann@example.net",
        "subject": "Your cart",
        "html": ["<p>Hello</p>"],
        "text": ["Hello"],
        "date": NOW,
        "domain": "harbour.example",
    }
    return Mail(**(fields | changes))  # type: ignore[arg-type]


def compose(mail: Mail) -> bytes:
    return bytes(message_of(mail))


def parsed(composed: bytes) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(composed, policy=policy.SMTP))


def mailbox(composed: bytes) -> tuple[str, str]:
    """Name and address of From. `policy.SMTP` is not used: it keeps the blanks between encoded-words of a name."""
    name, address = parseaddr("".join(str(message_from_bytes(composed)["From"]).splitlines()))
    return str(make_header(decode_header(name))), address


def test_a_mail_has_the_headers_that_receivers_require() -> None:
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


@pytest.mark.parametrize(
    "subject", ["Über alles: 20 % ❤", "x" * 900, "=?utf-8?q?spoof?=", "a " * 299 + "a", "e\u0301" * 50]
)
def test_a_subject_beyond_ascii_reads_back_the_same(subject: str) -> None:
    composed = compose(mail(subject=subject))
    assert str(parsed(composed)["Subject"]) == subject
    assert max(map(len, composed.split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Kind of Blue\nLP", "Kind of Blue LP"),
        ("Kind of Blue\tLP", "Kind of Blue LP"),
        ("Kind of Blue \r\n\t LP", "Kind of Blue LP"),
        ("a\x0bb\x0cc\x85d\u2028e\u2029f", "a b c d e f"),
        ("  edges\t", "edges"),
        ("two  blanks", "two blanks"),
        ("nul\x00, escape\x1b and delete\x7f", "nul, escape and delete"),
        ("10\u00a0€", "10\u00a0€"),
        ("zero\u200bwidth", "zero\u200bwidth"),
        ("Hello\r\nBcc: all@example.net", "Hello Bcc: all@example.net"),
        ("Hello\nBcc: all@example.net\n\nbody", "Hello Bcc: all@example.net body"),
    ],
)
def test_white_space_in_a_header_becomes_one_space_and_control_characters_are_removed(written: str, shown: str) -> None:
    message = parsed(compose(mail(subject=written, sender=Mailbox(written, "hello@harbour.example"))))
    assert str(message["Subject"]) == shown
    assert message["From"].addresses[0].display_name == shown
    assert message["From"].addresses[0].addr_spec == "hello@harbour.example"
    assert message["Bcc"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "ann@example.net\r\nBcc: all@example.net"},
        {"sender": Mailbox("Shop", "hello@harbour.example>\r\nBcc: <all@example.net")},
        {"extra": (("List-Unsubscribe", "<https://x.example>\r\nBcc: all@example.net"),)},
        {"extra": (("List-Unsubscribe", "<https://x.example>\u2028"),)},
    ],
)
def test_an_address_or_url_that_could_end_its_header_is_refused_and_not_repeated(changes: dict[str, object]) -> None:
    with pytest.raises(HeaderError) as refused:
        compose(mail(**changes))
    assert "Bcc" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "The Old Harbour Record Shop for Jazz, Soul, Blues and Everything Else " * 4,
        "Läden und Gärten am alten Hafen " * 12,
        'Ann "the voice" O\\Hara, of Harbour (London)',
        "x" * 500,
        "=?utf-8?q?spoof?=",
        "ann@other.example",
    ],
)
def test_a_sender_name_of_any_length_is_folded_and_reads_back_the_same(name: str) -> None:
    composed = compose(mail(sender=Mailbox(name, "hello@harbour.example")))
    assert mailbox(composed) == (name.strip(), "hello@harbour.example")
    assert max(map(len, composed.split(b"\r\n"))) <= 78


def test_no_body_line_has_more_than_76_bytes_even_if_a_space_ends_it() -> None:
    composed = compose(mail(text=["x" * 74 + " \n" + "y" * 75 + "\t\n" + "ä" * 40 + " \n.\n"]))
    rows = composed.split(b"\r\n\r\n", 2)[2].split(b"\r\n")
    assert max(map(len, rows)) <= 76
    assert not [row for row in rows if row.endswith((b" ", b"\t")) or row == b"."]


def test_a_local_part_beyond_ascii_is_refused_because_there_is_no_smtputf8() -> None:
    with pytest.raises(HeaderError, match=r"To: .* SMTPUTF8"):
        compose(mail(to="zoë@example.net"))


def test_a_domain_beyond_ascii_is_written_in_a_labels() -> None:
    composed = compose(mail(to="ann@bücher.example", sender=Mailbox.parse("Läden <shop@läden.example>")))
    assert b"\r\nTo: ann@xn--bcher-kva.example\r\n" in composed
    assert parsed(composed)["From"].addresses[0].addr_spec == "shop@xn--lden-loa.example"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Shop <zoë@shop.example>", "Reply-To: the part before the @ must be ASCII"),
        ("Shop <a\u200b@shop.example>", "U+200B (ZERO WIDTH SPACE)"),
        ("Shop <a@shop..example>", "an empty part"),
    ],
)
def test_a_mailbox_that_cannot_be_written_is_refused_with_the_reason(text: str, expected: str) -> None:
    with pytest.raises(HeaderError, match=re.escape(expected)):
        Mailbox.parse(text, "Reply-To")


@pytest.mark.parametrize("text", ["", "not an address", "a@b@c", "Shop <>", "one@x.example, two@x.example"])
def test_a_sender_must_be_one_mailbox(text: str) -> None:
    with pytest.raises(HeaderError, match="From"):
        Mailbox.parse(text)


def test_a_display_name_keeps_its_letters() -> None:
    sender = Mailbox.parse('"Läden, GmbH" <hello@harbour.example>')
    assert parsed(compose(mail(sender=sender)))["From"].addresses[0].display_name == "Läden, GmbH"
