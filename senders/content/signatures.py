"""One DKIM signature (RFC 6376): rsa-sha256 or ed25519-sha256 (RFC 8463), relaxed/relaxed, by `cryptography`.

A message comes with its body in relaxed form, and its fields give theirs, so that hardly anything but the operation of
the key itself costs time. Two independent verifiers, dkimpy and mailauth, read the signatures in the tests.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from senders.content.headers import CRLF, Field

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
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
    "auto-submitted",
)
"""Each is signed once more often than it occurs, so that nobody can add one (RFC 6376, 5.4.2 and 8.15)."""

RSA, ED25519 = "rsa-sha256", "ed25519-sha256"
ALWAYS = datetime.min.replace(tzinfo=UTC)
_PADDING, _SHA256 = padding.PKCS1v15(), hashes.SHA256()
_FOLD = f"{CRLF} "
_NAMES_IN_A_ROW = 5
_LONGEST_ROW = 72

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key that a domain publishes under a selector. Mails are signed with it from an instant on."""

    domain: str
    selector: str
    key: PrivateKey
    since: datetime = ALWAYS

    @property
    def algorithm(self) -> str:
        """The name of the signature's algorithm in `a=`."""
        return RSA if isinstance(self.key, rsa.RSAPrivateKey) else ED25519

    def signature(self, fields: Sequence[Field], body_hash: bytes, at: datetime) -> str:
        """The DKIM-Signature field, with its CRLF, for these fields and the SHA-256 of the body in relaxed form."""
        order, names = _covered(tuple([field.name for field in fields]))
        unsigned = (
            f"v=1; a={self.algorithm}; c=relaxed/relaxed;{_FOLD}d={self.domain}; s={self.selector};"
            f" t={int(at.timestamp())};{_FOLD}h={names};{_FOLD}bh={base64.b64encode(body_hash).decode()};{_FOLD}b="
        )
        covered = "".join([fields[place].relaxed for place in order])
        signature = self._sign(f"{covered}dkim-signature:{unsigned.replace(CRLF, '')}".encode("ascii"))
        return f"DKIM-Signature: {unsigned}{_in_rows(base64.b64encode(signature).decode())}{CRLF}"

    def _sign(self, hashed: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(hashed, _PADDING, _SHA256)
        return self.key.sign(hashlib.sha256(hashed).digest())  # RFC 8463, 3: the hash is what is signed


def _in_rows(signature: str) -> str:
    return _FOLD.join([signature[start : start + _LONGEST_ROW] for start in range(0, len(signature), _LONGEST_ROW)])


@lru_cache(maxsize=256)
def _covered(names: tuple[str, ...]) -> tuple[Sequence[int], str]:
    """The places of the fields that are signed, in the order of `h=`, and the text of `h=` for fields of these names.

    Of several with one name, the last comes first.
    """
    lower = [name.lower() for name in names]
    places = {name: [place for place, each in enumerate(lower) if each == name] for name in SIGNED}
    listed = [name for name in SIGNED for _ in range(len(places[name]) + 1)]
    rows = [":".join(listed[start : start + _NAMES_IN_A_ROW]) for start in range(0, len(listed), _NAMES_IN_A_ROW)]
    return [place for name in SIGNED for place in reversed(places[name])], f":{_FOLD}".join(rows)
