"""One mail as bytes: headers and a multipart/alternative body, ready to be signed.

The bytes are written here rather than by the standard library's `email` package, which takes ten times as long. Two
rules make that safe: no header value may hold a control character, and quoted-printable parts can never hold the
boundary, since it contains "=_" (RFC 2045, 6.7).
"""

import binascii
import re
from dataclasses import dataclass, field
from datetime import datetime
from email.header import Header
from email.utils import format_datetime, formataddr, getaddresses

from pydantic import TypeAdapter

from schemas.types import Address

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_LONGEST_PLAIN = 200
"""An ASCII value up to this length stays as it is, on one line; RFC 5322 (2.1.1) allows 998."""
_ADDRESS: TypeAdapter[str] = TypeAdapter(Address)


class HeaderError(ValueError):
    """A header's value cannot be written safely; the message names the header and never the value."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A mailbox with its display name."""

    name: str
    address: str

    @classmethod
    def parse(cls, text: str) -> "Sender":
        """The one mailbox that `text` names, as `Name <address>` or `address`; raises HeaderError otherwise."""
        mailboxes = getaddresses([_checked("From", text)])
        try:
            [(name, address)] = mailboxes
            _ADDRESS.validate_python(address)
        except ValueError:  # ValidationError is one too
            raise HeaderError("From: not one mailbox such as `Shop <mail@shop.example>`") from None
        return cls(name, ascii_address(address, "From"))


@dataclass(frozen=True, slots=True)
class Mail:
    """What a mail says and to whom. `extra` headers are (name, value) in order."""

    command_id: str
    sender: Sender
    to: str
    subject: str
    html: str
    text: str
    date: datetime
    domain: str
    extra: tuple[tuple[str, str], ...] = field(default=())

    @property
    def message_id(self) -> str:
        """The same for every attempt, so that a receiver can know a mail sent twice."""
        return message_id(self.command_id, self.domain)


def message_id(command_id: str, domain: str) -> str:
    """The Message-ID of a command."""
    return f"<{command_id}@{domain}>"


def compose(mail: Mail) -> bytes:
    """The mail as bytes with CRLF line ends, at most 998 bytes a line; raises HeaderError."""
    boundary = f"=_{mail.command_id}"
    headers = [
        ("From", _mailbox(mail.sender)),
        ("To", ascii_address(mail.to, "To")),
        ("Subject", _unstructured("Subject", mail.subject)),
        ("Date", format_datetime(mail.date)),
        ("Message-ID", mail.message_id),
        *((name, _checked(name, value)) for name, value in mail.extra),
        ("X-Ebbtide-Command", mail.command_id),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/alternative; boundary="{boundary}"'),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("ascii")
    delimiter = b"--" + boundary.encode("ascii")
    parts = (_part(b"text/plain", mail.text), _part(b"text/html", mail.html))
    return head + b"\r\n" + b"".join(delimiter + b"\r\n" + part for part in parts) + delimiter + b"--\r\n"


def ascii_address(address: str, header: str) -> str:
    """The address if plain SMTP can carry it (no SMTPUTF8, RFC 6531); raises HeaderError otherwise."""
    if not address.isascii():
        raise HeaderError(f"{header}: the address needs SMTPUTF8, which delivery does not speak")
    return _checked(header, address)


def _mailbox(sender: Sender) -> str:
    return formataddr((_checked("From", sender.name), sender.address))


def _unstructured(name: str, value: str) -> str:
    _checked(name, value)
    if value.isascii() and len(value) <= _LONGEST_PLAIN and "=?" not in value and value == value.strip():
        return value
    return Header(value, "utf-8", header_name=name, maxlinelen=76).encode(linesep="\r\n")


def _checked(name: str, value: str) -> str:
    if _CONTROL.search(value):
        raise HeaderError(f"{name}: control characters are not allowed")
    return value


def _part(media_type: bytes, body: str) -> bytes:
    lines = body.encode().replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n") + b"\n"
    return (
        b"Content-Type: " + media_type + b'; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        + binascii.b2a_qp(lines.replace(b"\n", b"\r\n"))
        + b"\r\n"
    )
