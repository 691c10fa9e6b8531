"""One mail as bytes: header fields and a multipart/alternative body, ready to be signed.

The standard library's `email` package takes twenty times as long as this code. Three rules make it safe: no control
character of a value gets into a header; a quoted-printable part cannot contain the boundary, which has "=_" in it (RFC
2045, 6.7); and the body is in DKIM's relaxed form as it is (`senders.content.quoted_printable`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime, getaddresses
from functools import lru_cache

from schemas.addresses import plain_address
from senders.content import headers, quoted_printable
from senders.content.headers import Field, HeaderError


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox with its display name."""

    name: str
    address: str

    @property
    def shown(self) -> str:
        """`Name <address>`, or the address if there is no name."""
        return f"{self.name} <{self.address}>" if self.name else self.address

    @property
    def domain(self) -> str:
        """The domain of the address, in lower case."""
        return self.address.rpartition("@")[2].lower()

    @classmethod
    def parse(cls, text: str, field: str = "From") -> "Mailbox":
        """The mailbox in `Name <address>` or `address`; raises HeaderError, which names `field`."""
        try:
            [(name, address)] = getaddresses([headers.one_line(text)])
        except ValueError:
            raise HeaderError(field, "not one mailbox such as `Shop <mail@shop.example>`") from None
        if not address:
            raise HeaderError(field, "not one mailbox such as `Shop <mail@shop.example>`")
        return cls.of(name, address, field)

    @classmethod
    def of(cls, name: str, address: str, field: str = "From") -> "Mailbox":
        """The mailbox with this display name and address; raises HeaderError."""
        return cls(headers.one_line(name), ascii_address(headers.one_line(address), field))


@dataclass(frozen=True, slots=True)
class Mail:
    """What a mail says and to whom. `extra` headers are (name, value) in order; a body is in pieces."""

    command_id: str
    sender: Mailbox
    to: str
    subject: str
    html: Sequence[str]
    text: Sequence[str]
    date: datetime
    domain: str
    reply_to: Mailbox | None = None
    extra: tuple[tuple[str, str], ...] = field(default=())

    @property
    def message_id(self) -> str:
        """The same for every attempt, so that a receiver can recognize a mail sent twice."""
        return message_id(self.command_id, self.domain)


@dataclass(frozen=True, slots=True)
class Message:
    """A composed mail: its header fields, and its body in DKIM's relaxed form."""

    fields: Sequence[Field]
    body: bytes

    def __bytes__(self) -> bytes:
        return "".join([field.line for field in self.fields]).encode("ascii") + b"\r\n" + self.body


def message_id(command_id: str, domain: str) -> str:
    """The Message-ID of a command."""
    return f"<{command_id}@{domain}>"


def command_id_of(text: str) -> str:
    """The command of a Message-ID, with or without its brackets; an id that is already one stays as it is."""
    return text.strip().strip("<>").partition("@")[0]


def compose(mail: Mail) -> Message:
    """The mail with CRLF line ends; raises HeaderError.

    Lines have at most 78 bytes, or up to 998 with an address or a URL, which must not be folded.
    """
    boundary = f"=_{mail.command_id}"
    fields = [
        _mailbox_field("From", mail.sender),
        *([] if mail.reply_to is None else [_mailbox_field("Reply-To", mail.reply_to)]),
        headers.mailbox_field("To", "", ascii_address(mail.to, "To")),
        headers.text_field("Subject", mail.subject),
        _date_field(mail.date.replace(microsecond=0)),
        headers.field("Message-ID", mail.message_id),
        *[headers.field(name, value) for name, value in mail.extra],
        headers.field("X-Ebbtide-Command", mail.command_id),
        _MIME_VERSION,
        Field("Content-Type", f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n'),
    ]
    delimiter = f"--{boundary}".encode("ascii")
    text, html = quoted_printable.body(mail.text), quoted_printable.body(mail.html)
    body = b"".join([delimiter, _TEXT_HEAD, text, b"\r\n", delimiter, _HTML_HEAD, html, b"\r\n", delimiter, b"--\r\n"])
    return Message(fields, body)


def ascii_address(address: str, field: str) -> str:
    """The address for plain SMTP, with its domain in A-labels; raises HeaderError with the reason if it has none."""
    try:
        return plain_address(address)
    except ValueError as error:
        raise HeaderError(field, str(error)) from None


@lru_cache(maxsize=1024)
def _mailbox_field(name: str, mailbox: Mailbox) -> Field:
    return headers.mailbox_field(name, mailbox.name, mailbox.address)


@lru_cache(maxsize=64)
def _date_field(second: datetime) -> Field:
    return headers.field("Date", format_datetime(second))


def _part_head(media_type: str) -> bytes:
    head = f'\r\nContent-Type: {media_type}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
    return head.encode("ascii")


_MIME_VERSION = headers.field("MIME-Version", "1.0")
_TEXT_HEAD, _HTML_HEAD = _part_head("text/plain"), _part_head("text/html")
