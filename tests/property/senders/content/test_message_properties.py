"""Properties of the bytes: what goes in comes out of two independent readers, and every signature verifies with dkimpy.

The readers are the standard library's `email` and `fast_mail_parser`, which is written in Rust.
"""

import base64
import quopri
import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from functools import cache
from typing import cast

import dkim as dkimpy
import fast_mail_parser
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import example, given
from hypothesis import strategies as st

from senders.content import headers, quoted_printable
from senders.content.dkim import Signer, dns_record
from senders.content.message import Mail, Mailbox, compose

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
ANY = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
LINE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=300)
BODY = st.text(st.characters(exclude_categories=("Cs",)), max_size=2000)


@cache
def signer() -> Signer:
    return Signer("harbour.example", "s1", rsa.generate_private_key(65537, 2048))


def verifies(message: bytes) -> bool:
    record = dns_record(signer().key).encode()
    return bool(dkimpy.verify(message, dnsfunc=lambda _name, **_options: record))


def mail(subject: str, html: str, text: str) -> Mail:
    sender = Mailbox("CD Harbour", "hello@harbour.example")
    return Mail("ab" * 16, sender, "ann@example.net", subject, html, text, NOW, "harbour.example")


def lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"


def read(composed: bytes) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(composed, policy=policy.SMTP))


@given(BODY, BODY)
@example(".", "\n.\n..\n")
@example("--=_" + "ab" * 16, "--=_" + "ab" * 16 + "--")
@example(" \t \n\t", "trailing \nfrom \n \n\n")
@example("From me", "From you\n")
@example("nul \0 and \x1a", "\x85 \u2028 \x0b \x0c")
def test_both_parts_read_back_as_they_were_written(html: str, text: str) -> None:
    composed = compose(mail("s", html, text))
    plain, rich = read(composed).iter_parts()
    for part, written in ((plain, text), (rich, html)):
        raw = cast(bytes, part.get_payload(decode=True))
        assert raw.decode().replace("\r\n", "\n") == lines(written)
    other = fast_mail_parser.parse_email(composed)
    assert [each.replace("\r\n", "\n") for each in other.text_plain] == [lines(text)]
    assert [each.replace("\r\n", "\n") for each in other.text_html] == [lines(html)]


@given(ANY, ANY)
@example("x" * 70 + " ü", "y" * 70)
@example("👩‍👩‍👧" * 30, "n̈" * 100)
@example("=?utf-8?b?eA==?=", "=?")
@example("word " * 60, 'Ann, "x" ' * 30)
def test_no_value_adds_a_field_and_every_value_reads_back_as_one_line(subject: str, name: str) -> None:
    sender = Mailbox(name, "hello@harbour.example")
    composed = compose(Mail("ab" * 16, sender, "ann@example.net", subject, "x", "x", NOW, "harbour.example"))
    message, other = read(composed), fast_mail_parser.parse_email(composed)
    names = ["From", "To", "Subject", "Date", "Message-ID", "X-Ebbtide-Command", "MIME-Version", "Content-Type"]
    assert message.keys() == list(other.headers) == names
    assert str(message["Subject"]) == other.subject == headers.one_line(subject)
    # `policy.SMTP` keeps the blanks between encoded-words of a display name, so the older API reads it.
    raw_name, address = parseaddr("".join(str(message_from_bytes(composed)["From"]).splitlines()))
    assert (str(make_header(decode_header(raw_name))), address) == (headers.one_line(name), "hello@harbour.example")
    assert other.from_ is not None
    # The reader in Rust strips a name of all Unicode white space at its ends.
    assert (other.from_.display_name or "").strip() == headers.one_line(name).strip()
    assert other.from_.address == "hello@harbour.example"


ENCODED_WORD = re.compile(rb"=\?utf-8\?([bq])\?([!->@-~]*)\?=")


@given(ANY)
@example("ü" * 200)
@example("a" * 200 + "ü")
def test_an_encoded_word_has_at_most_75_bytes_and_whole_characters(subject: str) -> None:
    field = headers.text_field("Subject", subject).encode("ascii")
    assert max(map(len, field.split(b"\r\n"))) <= 78
    for encoding, text in ENCODED_WORD.findall(field):
        raw = base64.b64decode(text) if encoding == b"b" else quopri.decodestring(text, header=True)
        raw.decode()
        assert len(text) + len(b"=?utf-8?b??=") <= 75


@given(BODY)
@example("x" * 74 + " \nnext")
@example("x" * 75 + "\t")
@example("=" * 100)
@example("x" * 73 + "ü" + " ")
def test_quoted_printable_keeps_every_rule_of_rfc_2045(body: str) -> None:
    encoded = quoted_printable.encode(body.encode())
    for row in encoded.split(b"\r\n"):
        assert len(row) <= 76
        assert re.fullmatch(rb"(?:[\t -<>-~]|=[0-9A-F]{2})*=?", row)
        assert not row.endswith((b" ", b"\t"))
    assert quopri.decodestring(encoded.replace(b"\r\n", b"\n")) == quopri_lines(body)


def quopri_lines(body: str) -> bytes:
    return body.encode().replace(b"\r\n", b"\n").replace(b"\r", b"\n")


@given(ANY, BODY)
def test_no_line_has_more_than_78_bytes_and_every_line_ends_in_crlf(subject: str, body: str) -> None:
    composed = compose(mail(subject, body, body))
    assert max(map(len, composed.split(b"\r\n"))) <= 78
    assert b"\r" not in composed.replace(b"\r\n", b"")
    assert b"\n" not in composed.replace(b"\r\n", b"")
    assert composed.isascii()


@given(LINE, BODY, BODY)
def test_every_composed_mail_verifies(subject: str, html: str, text: str) -> None:
    assert verifies(signer().sign(compose(mail(subject, html, text)), NOW))


@given(ANY, ANY)
def test_a_relay_that_folds_headers_again_leaves_the_signature_valid(subject: str, name: str) -> None:
    sender = Mailbox(name, "hello@harbour.example")
    composed = compose(Mail("ab" * 16, sender, "ann@example.net", subject, "x", "x", NOW, "harbour.example"))
    head, _, body = signer().sign(composed, NOW).partition(b"\r\n\r\n")
    assert verifies(head.replace(b"\r\n ", b" ") + b"\r\n\r\n" + body)
    assert verifies(head.replace(b"\r\n ", b"\r\n\t ") + b"\r\n\r\n" + body)


RAW_LINE = st.binary(max_size=60).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Subject", "To", "Cc", "List-Unsubscribe", "X-Other", "DATE"]),
        st.lists(VALUE.filter(bool), min_size=1, max_size=4).map("\r\n\t ".join),
    ),
    max_size=6,
)


@given(HEADERS, st.lists(RAW_LINE, max_size=30).map(b"\r\n".join))
@example([("Subject", "a"), ("Subject", "b")], b"")
@example([], b"\r\n\r\n")
@example([], b" \r\n\t\r\n")
@example([], b"no line end  ")
def test_a_signature_over_any_headers_and_bytes_verifies(headers: list[tuple[str, str]], body: bytes) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in [("From", "a@harbour.example"), *headers])
    assert verifies(signer().sign(head.encode() + b"\r\n" + body + b"\r\n" * bool(body), NOW))


@given(st.sampled_from(["From", "Subject", "To", "Date", "Message-ID", "List-Unsubscribe", "Cc", "Reply-To"]))
def test_a_header_added_afterwards_breaks_the_signature(name: str) -> None:
    signed = signer().sign(compose(mail("Subject", "<p>x</p>", "x")), NOW)
    assert verifies(signed)
    assert not verifies(f"{name}: added@example.net\r\n".encode() + signed)


@given(st.integers(min_value=0, max_value=200))
def test_a_changed_body_breaks_the_signature(position: int) -> None:
    signed = signer().sign(compose(mail("Subject", "<p>x</p>", "y" * 300)), NOW)
    at = signed.index(b"yyy") + position // 70 * 76
    assert not verifies(signed[:at] + b"z" + signed[at + 1 :])
