"""One mail as bytes: headers and a multipart/alternative body, ready to be signed.

The standard library's `email` package takes ten times as long as this code. Two rules make it safe: no control
character of a value gets into a header, and a quoted-printable part cannot contain the boundary, which has "=_" in it
(RFC 2045, 6.7).
"""

from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime, getaddresses

from schemas.addresses import plain_address
from senders.content import headers, quoted_printable
from senders.content.headers import HeaderError


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox with its display name."""

    name: str
    address: str

    @property
    def shown(self) -> str:
        """`Name <address>`, or the address if there is no name."""
        return f"{self.name} <{self.address}>" if self.name else self.address

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
    """What a mail says and to whom. `extra` headers are (name, value) in order."""

    command_id: str
    sender: Mailbox
    to: str
    subject: str
    html: str
    text: str
    date: datetime
    domain: str
    reply_to: Mailbox | None = None
    extra: tuple[tuple[str, str], ...] = field(default=())

    @property
    def message_id(self) -> str:
        """The same for every attempt, so that a receiver can recognize a mail sent twice."""
        return message_id(self.command_id, self.domain)


def message_id(command_id: str, domain: str) -> str:
    """The Message-ID of a command."""
    return f"<{command_id}@{domain}>"


def compose(mail: Mail) -> bytes:
    """The mail as bytes with CRLF line ends; raises HeaderError.

    Lines have at most 78 bytes, or up to 998 with an address or a URL, which must not be folded.
    """
    boundary = f"=_{mail.command_id}"
    fields = [
        headers.mailbox_field("From", mail.sender.name, mail.sender.address),
        *_reply_to(mail.reply_to),
        headers.mailbox_field("To", "", ascii_address(mail.to, "To")),
        headers.text_field("Subject", mail.subject),
        headers.field("Date", format_datetime(mail.date)),
        headers.field("Message-ID", mail.message_id),
        *(headers.field(name, value) for name, value in mail.extra),
        headers.field("X-Ebbtide-Command", mail.command_id),
        headers.field("MIME-Version", "1.0"),
        f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n',
    ]
    head = "".join(fields).encode("ascii")
    delimiter = b"--" + boundary.encode("ascii")
    parts = (_part(b"text/plain", mail.text), _part(b"text/html", mail.html))
    return head + b"\r\n" + b"".join(delimiter + b"\r\n" + part for part in parts) + delimiter + b"--\r\n"


def _reply_to(mailbox: Mailbox | None) -> list[str]:
    return [] if mailbox is None else [headers.mailbox_field("Reply-To", mailbox.name, mailbox.address)]


def ascii_address(address: str, field: str) -> str:
    """The address for plain SMTP, with its domain in A-labels; raises HeaderError with the reason if it has none."""
    try:
        return plain_address(address)
    except ValueError as error:
        raise HeaderError(field, str(error)) from None


def _part(media_type: bytes, body: str) -> bytes:
    return (
        b"Content-Type: " + media_type + b'; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        + quoted_printable.encode(body.encode().rstrip(b"\r\n") + b"\n")
        + b"\r\n"
    )
