"""Properties of the bytes: what goes in comes out of two independent readers, and every signature verifies with dkimpy.

The readers are the standard library's `email` and `fast_mail_parser`, which is written in Rust.
"""

import base64
import quopri
import re
from contextlib import suppress
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from functools import cache
from typing import cast

import dkim as dkimpy
import fast_mail_parser
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from dkim.canonicalization import Relaxed
from hypothesis import example, given
from hypothesis import strategies as st

from senders.content import headers, quoted_printable
from senders.content.dkim import Signer, dns_record
from senders.content.headers import Field
from senders.content.message import Mail, Mailbox, Message, compose
from senders.content.quoted_printable import StaticText
from senders.content.signatures import SigningKey

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
ANY = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
LINE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=300)
BODY = st.text(st.characters(exclude_categories=("Cs",)), max_size=2000)
PIECES = st.lists(
    st.builds(
        lambda text, static: StaticText(text) if static else text,
        st.one_of(st.text(st.sampled_from(" .=\r\n\tFrom é"), max_size=12), BODY),
        st.booleans(),
    ),
    max_size=8,
)
DOMAIN = "harbour.example"
SENDER = Mailbox("CD Harbour", f"hello@{DOMAIN}")


@cache
def signer() -> Signer:
    keys = {"s1": rsa.generate_private_key(65537, 2048), "s2": ed25519.Ed25519PrivateKey.generate()}
    return Signer(DOMAIN, [SigningKey(DOMAIN, selector, key) for selector, key in keys.items()])


def signed(message: Message) -> bytes:
    return signer().sign(message, DOMAIN, NOW)


def verifies(message: bytes) -> bool:
    """Whether dkimpy finds both signatures right; False means that it finds neither."""
    records = {f"{key.selector}._domainkey.{DOMAIN}.".encode(): dns_record(key.key) for key in signer().keys}
    found = set()
    for number in range(2):
        with suppress(dkimpy.ValidationError):
            found.add(dkimpy.DKIM(message).verify(number, dnsfunc=lambda name, **_options: records[name].encode()))
    assert len(found) < 2
    return found == {True}


def mail(subject: str, html: str, text: str, sender: Mailbox = SENDER) -> Mail:
    return Mail("ab" * 16, sender, "ann@example.net", subject, [html], [text], NOW, DOMAIN)


def whole(mail: Mail) -> bytes:
    return bytes(compose(mail))


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
    composed = whole(mail("s", html, text))
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
    composed = whole(mail(subject, "x", "x", Mailbox(name, SENDER.address)))
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
    field = headers.text_field("Subject", subject).line.encode("ascii")
    assert max(map(len, field.split(b"\r\n"))) <= 78
    for encoding, text in ENCODED_WORD.findall(field):
        raw = base64.b64decode(text) if encoding == b"b" else quopri.decodestring(text, header=True)
        raw.decode()
        assert len(text) + len(b"=?utf-8?b??=") <= 75


@given(PIECES)
@example(["x" * 74 + " \nnext"])
@example(["x" * 75 + "\t"])
@example(["=" * 100])
@example(["x" * 73 + "ü" + " "])
@example(["x" * 72, " ", " ", ".", StaticText("."), "From ", " \n", " \n", "\n"])
@example([" " * 300, StaticText(" " * 300), "\n\n\n"])
@example(["From ", "." * 80, "." + "x" * 72 + ".", "From " + "x" * 68 + "\nFrom x"])
@example(["ü" * 100_000])
def test_a_body_in_pieces_keeps_every_rule_of_rfc_2045_and_is_in_relaxed_form(pieces: list[str]) -> None:
    encoded = quoted_printable.body(pieces)
    for row in encoded.split(b"\r\n"):
        assert len(row) <= 76
        assert re.fullmatch(rb"(?:[ -<>-~]|=[0-9A-F]{2})*=?", row)
        assert not row.endswith(b" ")
        assert not row.startswith((b".", b"From "))
        assert b"  " not in row
    text = "".join(piece.replace("\r\n", "\n").replace("\r", "\n") for piece in pieces)
    assert quopri.decodestring(encoded.replace(b"\r\n", b"\n")) == (text.rstrip("\n") + "\n").encode()


@given(PIECES, PIECES)
def test_the_body_of_every_mail_is_in_relaxed_form(html: list[str], text: list[str]) -> None:
    message = compose(Mail("ab" * 16, SENDER, "ann@example.net", "s", html, text, NOW, DOMAIN))
    assert Relaxed.canonicalize_body(message.body) == message.body


@given(ANY, ANY)
def test_every_field_gives_its_relaxed_form(subject: str, name: str) -> None:
    fields = compose(mail(subject, "x", "x", Mailbox(name, SENDER.address))).fields
    pairs = [(field.name.encode(), field.line.encode()[len(field.name) + 1 :]) for field in fields]
    relaxed = [(name.encode(), value.encode()) for name, _, value in (f.relaxed.partition(":") for f in fields)]
    assert Relaxed.canonicalize_headers(pairs) == relaxed


@given(ANY, BODY)
def test_no_line_has_more_than_78_bytes_and_every_line_ends_in_crlf(subject: str, body: str) -> None:
    composed = whole(mail(subject, body, body))
    assert max(map(len, composed.split(b"\r\n"))) <= 78
    assert b"\r" not in composed.replace(b"\r\n", b"")
    assert b"\n" not in composed.replace(b"\r\n", b"")
    assert composed.isascii()


@given(LINE, PIECES, PIECES)
def test_both_signatures_of_every_mail_verify(subject: str, html: list[str], text: list[str]) -> None:
    assert verifies(signed(compose(Mail("ab" * 16, SENDER, "ann@example.net", subject, html, text, NOW, DOMAIN))))


@given(ANY, ANY)
def test_a_relay_that_folds_headers_again_leaves_the_signatures_valid(subject: str, name: str) -> None:
    message = signed(compose(mail(subject, "x", "x", Mailbox(name, SENDER.address))))
    head, _, body = message.partition(b"\r\n\r\n")
    assert verifies(head.replace(b"\r\n ", b" ") + b"\r\n\r\n" + body)
    assert verifies(head.replace(b"\r\n ", b"\r\n\t ") + b"\r\n\r\n" + body)


VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
FIELDS = st.lists(
    st.builds(
        lambda name, words: Field(name, f"{name}: {' '.join(words)}\r\n"),
        st.sampled_from(["Subject", "To", "Cc", "List-Unsubscribe", "X-Other", "DATE"]),
        st.lists(VALUE, min_size=1, max_size=4),
    ),
    max_size=6,
)


@given(FIELDS)
@example([Field("Subject", "Subject: a\r\n"), Field("Subject", "Subject: b\r\n b\r\n")])
def test_signatures_over_any_fields_verify(fields: list[Field]) -> None:
    assert verifies(signed(Message([Field("From", f"From: a@{DOMAIN}\r\n"), *fields], b"x\r\n")))


@given(
    st.sampled_from(["From", "Subject", "To", "Date", "Message-ID", "List-Unsubscribe", "List-Id", "Cc", "Reply-To"])
)
def test_a_header_added_afterwards_breaks_the_signature(name: str) -> None:
    message = signed(compose(mail("Subject", "<p>x</p>", "x")))
    assert verifies(message)
    assert not verifies(f"{name}: added@example.net\r\n".encode() + message)


@given(st.integers(min_value=0, max_value=200))
def test_a_changed_body_breaks_the_signature(position: int) -> None:
    message = signed(compose(mail("Subject", "<p>x</p>", "y" * 300)))
    at = message.index(b"yyy") + position // 70 * 76
    assert not verifies(message[:at] + b"z" + message[at + 1 :])
