"""Properties of the bytes: what goes in comes out of a standard parser, and every signature verifies with dkimpy."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from functools import cache

import dkim as dkimpy
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import example, given
from hypothesis import strategies as st

from senders.dkim import Signer, dns_record
from senders.message import Mail, Sender, compose

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
LINE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=300)
BODY = st.text(st.characters(exclude_categories=("Cs",)), max_size=2000)


@cache
def signer() -> Signer:
    return Signer("harbour.example", "s1", rsa.generate_private_key(65537, 2048))


def verifies(message: bytes) -> bool:
    record = dns_record(signer().key).encode()
    return bool(dkimpy.verify(message, dnsfunc=lambda _name, **_options: record))


def mail(subject: str, html: str, text: str) -> Mail:
    sender = Sender("CD Harbour", "hello@harbour.example")
    return Mail("ab" * 16, sender, "ann@example.net", subject, html, text, NOW, "harbour.example")


def lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"


@given(LINE, BODY, BODY)
@example("dot", ".", "\n.\n..\n")
@example("boundary", "--=_" + "ab" * 16, "--=_" + "ab" * 16 + "--")
@example("blanks", " \t \n\t", "trailing \nfrom \n \n\n")
@example("from", "From me", "From you\n")
def test_a_mail_reads_back_as_it_was_written(subject: str, html: str, text: str) -> None:
    composed = compose(mail(subject, html, text))
    parsed = message_from_bytes(composed, policy=policy.SMTP)
    plain, rich = parsed.iter_parts()  # type: ignore[attr-defined]
    assert plain.get_payload(decode=True).decode().replace("\r\n", "\n") == lines(text)
    assert rich.get_payload(decode=True).decode().replace("\r\n", "\n") == lines(html)


@given(LINE, BODY)
def test_no_line_is_longer_than_smtp_allows_and_every_line_ends_in_crlf(subject: str, body: str) -> None:
    composed = compose(mail(subject, body, body))
    assert max(map(len, composed.split(b"\r\n"))) <= 998
    assert b"\r" not in composed.replace(b"\r\n", b"")
    assert b"\n" not in composed.replace(b"\r\n", b"")
    assert composed.isascii()


@given(LINE, BODY, BODY)
def test_every_composed_mail_verifies(subject: str, html: str, text: str) -> None:
    assert verifies(signer().sign(compose(mail(subject, html, text)), NOW))


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
def test_any_headers_and_any_bytes_verify(headers: list[tuple[str, str]], body: bytes) -> None:
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
