"""What stands beside delivery in its benchmark: the naive way, `smtp-source`, and the RSA operation alone."""

import asyncio
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path

import aiosmtplib
import dkim
import typer
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from pydantic import BaseModel

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.layout import PROJECT_ROOT
from infra.local.problems import SetupProblem
from perf import sender_mails
from senders.content.dkim import Signer
from senders.content.mail_builder import content_of
from senders.content.message import Mail, Mailbox, Message, compose
from senders.content.recipient import Recipient
from senders.content.render import parse_template
from senders.content.signatures import SigningKey

AT = datetime(2026, 1, 5, tzinfo=UTC)
POSTFIX = "1"
DOMAIN = sender_mails.FROM_DOMAIN


class Signing(BaseModel):
    """Signing a mail, in microseconds of CPU, the best of some rounds, beside the operation of the RSA key alone."""

    size_kb: int
    rsa_us: float
    signed_us: float
    signed_twice_us: float
    """With RSA and Ed25519."""
    rendered_us: float
    composed_us: float
    ratio: float


class OtherSender(BaseModel):
    """Another sender over the same sink. CPU is of its process."""

    name: str
    size_kb: int
    tls: bool
    mails: int
    per_cpu_s: float
    mails_per_s: float


def signing(size_kb: int, rounds: int, times: int) -> Signing:
    """Signing a mail of about this size, and what else makes it."""
    key, small = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    one = Signer(DOMAIN, [SigningKey(DOMAIN, "s1", key)])
    two = Signer(DOMAIN, [SigningKey(DOMAIN, "s1", key), SigningKey(DOMAIN, "s2", small)])
    message = a_message(size_kb)
    template, recipient = parse_template("cart", sender_mails.template(size_kb)), a_recipient()
    mail = a_mail(size_kb)
    hashed, scheme, digest = b"x" * 700, padding.PKCS1v15(), hashes.SHA256()
    best = _best(
        {
            "rsa": lambda: key.sign(hashed, scheme, digest),
            "signed": lambda: one.sign(message, DOMAIN, AT),
            "twice": lambda: two.sign(message, DOMAIN, AT),
            "rendered": lambda: content_of(template, sender_mails.DATA, "user-0", recipient, AT),
            "composed": lambda: compose(mail),
        },
        rounds,
        times,
    )
    return Signing(
        size_kb=size_kb,
        rsa_us=best["rsa"],
        signed_us=best["signed"],
        signed_twice_us=best["twice"],
        rendered_us=best["rendered"],
        composed_us=best["composed"],
        ratio=round(best["signed"] / best["rsa"], 3),
    )


def _best(works: dict[str, Callable[[], object]], rounds: int, times: int) -> dict[str, float]:
    """Microseconds of CPU of each work, the best of alternating rounds."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            began = time.process_time()
            for _ in range(times):
                work()
            best[name] = min(best[name], (time.process_time() - began) / times * 1e6)
    return {name: round(value, 1) for name, value in best.items()}


def a_recipient() -> Recipient:
    """A user of the benchmark."""
    return Recipient("user-0", sender_mails.address(0), None, None, {"name": "Zoe 0"}, {})


def a_mail(size_kb: int) -> Mail:
    """The mail of a command, not composed yet."""
    template = parse_template("cart", sender_mails.template(size_kb))
    content = content_of(template, sender_mails.DATA, "user-0", a_recipient(), AT)
    return Mail(
        command_id="ab" * 16,
        sender=Mailbox("Harbour", f"hello@{DOMAIN}"),
        to=sender_mails.address(0),
        subject=content.subject,
        html=content.html_pieces,
        text=content.text_pieces,
        date=AT,
        domain=DOMAIN,
        extra=(("List-Unsubscribe", f"<https://{DOMAIN}/u/{'ab' * 16}>"),),
    )


def a_message(size_kb: int) -> Message:
    """The same mail, composed."""
    return compose(a_mail(size_kb))


async def naive(port: int, size_kb: int, mails: int, connections: int = 16) -> None:
    """The way of a first version: the template rendered, EmailMessage, dkimpy, aiosmtplib over TLS; no ledger."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    template = parse_template("cart", sender_mails.template(size_kb))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    left = iter(range(mails))

    async def work() -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=True, tls_context=context)
        await client.connect()
        for number in left:
            content = content_of(template, sender_mails.DATA, sender_mails.user_id(number), a_recipient(), AT)
            message = EmailMessage(policy=SMTP)
            message["From"] = f"Harbour <hello@{DOMAIN}>"
            message["To"] = to = sender_mails.address(number)
            message["Subject"] = content.subject
            message["Date"] = format_datetime(datetime.now(UTC))
            message["Message-ID"] = make_msgid(domain=DOMAIN)
            message.set_content(content.text)
            message.add_alternative(content.html, subtype="html")
            raw = message.as_bytes()
            signature = dkim.sign(raw, b"s1", DOMAIN.encode(), pem, canonicalize=(b"relaxed", b"relaxed"))
            await client.sendmail(f"hello@{DOMAIN}", [to], signature + raw)
        await client.quit()

    await asyncio.gather(*(work() for _ in range(connections)))


def naive_peer(port: int, size_kb: int, mails: int) -> OtherSender:
    """The naive way, in a process of its own."""
    command = [sys.executable, "-m", "perf.sender_peers", str(port), str(size_kb), str(mails)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu_s, seconds = map(float, done.stdout.split())
    return _peer("naive: EmailMessage, dkimpy, aiosmtplib", size_kb, True, mails, cpu_s, seconds)


def _peer(name: str, size_kb: int, tls: bool, mails: int, cpu_s: float, seconds: float) -> OtherSender:
    rates = {"per_cpu_s": round(mails / cpu_s, 1), "mails_per_s": round(mails / seconds, 1)}
    return OtherSender(name=name, size_kb=size_kb, tls=tls, mails=mails, **rates)


def smtp_source(port: int, size_kb: int, mails: int) -> OtherSender:
    """Postfix's load generator, which makes no mail and signs none; raises SetupProblem if it cannot be had."""
    program, environment = _postfix_program("smtp-source")
    options = ["-s", "16", "-m", str(mails), "-l", str(size_kb * 1000), "-f", f"hello@{DOMAIN}", "-t", "u0@example.net"]
    command = ["bash", "-c", 'times_of() { "$@"; times; }; times_of "$@"', "bash", str(program), *options]
    began = time.monotonic()
    done = subprocess.run(
        [*command, f"127.0.0.1:{port}"], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    seconds = time.monotonic() - began
    if done.returncode != 0:
        raise SetupProblem(f"smtp-source: {done.stderr.strip()[:200]}")
    used = [60 * int(m) + float(s) for m, s in re.findall(r"(\d+)m([\d.]+)s", done.stdout.splitlines()[-1])]
    return _peer("smtp-source", size_kb, False, mails, max(sum(used), 0.001), seconds)


def _postfix_program(name: str) -> tuple[Path, dict[str, str]]:
    """A program of Debian's package postfix, unpacked into `.local/postfix` and not installed."""
    if installed := shutil.which(name, path="/usr/sbin:/usr/bin"):
        return Path(installed), {}
    place = PROJECT_ROOT / ".local" / "postfix"
    log = PROJECT_ROOT / ".local" / "logs" / "postfix.log"
    with locked(place.with_suffix(".lock")):
        if not is_installed(place, POSTFIX):
            with installing(place, POSTFIX) as new:
                marks = ("E: ",)
                run(["apt-get", "-q", "download", "postfix"], log=log, failure="no postfix", marks=marks, directory=new)
                [deb] = new.glob("*.deb")
                run(["dpkg-deb", "-x", deb, new], log=log, failure="postfix could not be unpacked")
    return place / "usr" / "sbin" / name, {"LD_LIBRARY_PATH": str(place / "usr" / "lib" / "postfix")}


def main(port: int, size_kb: int, mails: int) -> None:
    """Send mails the naive way, and print the CPU seconds and the seconds."""
    warm_up = max(1, mails // 20)
    asyncio.run(naive(port, size_kb, warm_up))
    cpu_s, began = time.process_time(), time.monotonic()
    asyncio.run(naive(port, size_kb, mails))
    sys.stdout.write(f"{time.process_time() - cpu_s} {time.monotonic() - began}\n")


if __name__ == "__main__":
    typer.run(main)
