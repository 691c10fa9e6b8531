"""`python -m perf.bench_mails`: our MIME and DKIM beside the standard library's `email` and dkimpy."""

from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Annotated

import dkim
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from perf import results
from perf.side_by_side import Rate, rates, record
from senders.content.dkim import Signer
from senders.content.message import Mail, Mailbox, compose
from senders.content.signatures import SigningKey

FILE = results.FILE.with_name("mails.jsonl")
DOMAIN, SELECTOR = "shop.example", "s1"
AT = datetime(2026, 1, 5, tzinfo=UTC)
TEXT = "Hello Zoë,\n\nyour cart is still here, and so are we: https://shop.example/cart\n" * 20
MAIL = Mail(
    command_id="0" * 32,
    sender=Mailbox("Shop", f"hello@{DOMAIN}"),
    to="zoe@mail.example",
    subject="Your cart is waiting, Zoë",
    html=[f"<p>{TEXT}</p>"],
    text=[TEXT],
    date=AT,
    domain=DOMAIN,
)


def main(
    mails: Annotated[int, typer.Option(min=1, help="Mails that each implementation makes in a round.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; a rate is their median.")] = 5,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure mails composed and signed a second on one core, ours beside the standard library and dkimpy.

    Example: `python -m perf.bench_mails --mails 50`
    """
    record(
        lambda: [*composed(mails, rounds), *signed(mails, rounds)],
        ("cryptography", "dkimpy"),
        file,
        {"mails": mails, "rounds": rounds},
    )


def composed(mails: int, rounds: int) -> list[Rate]:
    """The rates of making the bytes of a mail."""
    return rates(
        "mails composed",
        mails,
        rounds,
        {
            "ebbtide": lambda: [bytes(compose(MAIL)) for _ in range(mails)],
            "email of the standard library": lambda: [standard_mail() for _ in range(mails)],
        },
    )


def standard_mail() -> bytes:
    """The same mail by the standard library."""
    message = EmailMessage(policy=SMTP)
    message["From"] = MAIL.sender.shown
    message["To"] = MAIL.to
    message["Subject"] = MAIL.subject
    message["Date"] = format_datetime(MAIL.date)
    message["Message-ID"] = MAIL.message_id
    message.set_content(MAIL.text[0], cte="quoted-printable")
    message.add_alternative(MAIL.html[0], subtype="html", cte="quoted-printable")
    return message.as_bytes()


def signed(mails: int, rounds: int) -> list[Rate]:
    """The rates of signing the mail with one RSA key of 2,048 bits."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    message, signer = compose(MAIL), Signer(DOMAIN, [SigningKey(DOMAIN, SELECTOR, key)])
    raw = bytes(message)
    few = max(1, mails // 20)
    ours = rates(
        "mails signed", mails, rounds, {"ebbtide": lambda: [signer.sign(message, DOMAIN, AT) for _ in range(mails)]}
    )
    theirs = rates("mails signed", few, rounds, {"dkimpy": lambda: [_dkimpy(raw, pem) for _ in range(few)]})
    return [*ours, *theirs]


def _dkimpy(raw: bytes, pem: bytes) -> bytes:
    signature: bytes = dkim.sign(raw, SELECTOR.encode(), DOMAIN.encode(), pem, canonicalize=(b"relaxed", b"relaxed"))
    return signature + raw


if __name__ == "__main__":
    typer.run(main)
