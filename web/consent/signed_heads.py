"""Signed heads: at a time, a partition's chain had so many rows, this root (RFC 9162) and this last hash. Pure.

Whoever keeps a head elsewhere can later show whether the rows before it are still the same.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from web.profiles.profile_state import moment

FORMAT = "ebbtide-consent-head-1"


class UntrustedHead(ValueError):
    """A head is not signed by a known key, or was changed since."""


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The state of a chain when it had `size` rows."""

    partition: int
    size: int
    signed_us: int
    root: bytes
    chain: bytes
    """The hash of its last row."""

    def message(self) -> bytes:
        """What is signed: JSON with sorted keys, without blanks."""
        return orjson.dumps(self.as_json(), option=orjson.OPT_SORT_KEYS)

    def as_json(self) -> dict[str, Any]:
        """The head as it is shown."""
        return {
            "format": FORMAT,
            "partition": self.partition,
            "size": self.size,
            "time": moment(self.signed_us),
            "time_us": self.signed_us,
            "root": self.root.hex(),
            "chain": self.chain.hex(),
        }


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head with its Ed25519 signature (RFC 8032), and the name of the key."""

    head: TreeHead
    key_id: bytes
    signature: bytes

    def as_json(self) -> dict[str, Any]:
        """The head, its key and its signature, as `of_json` reads them."""
        return {**self.head.as_json(), "key": self.key_id.hex(), "signature": self.signature.hex()}

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> "SignedHead":
        """The head that `as_json` wrote. Raises ValueError."""
        try:
            numbers = data["partition"], data["size"], data["time_us"]
            root, chain, key, signature = (bytes.fromhex(data[each]) for each in ("root", "chain", "key", "signature"))
        except (KeyError, TypeError, ValueError):
            raise ValueError("not a signed head") from None
        if data.get("format") != FORMAT or not all(type(each) is int for each in numbers):
            raise ValueError(f"not a signed head of the format {FORMAT}")
        return cls(TreeHead(*numbers, root, chain), key, signature)


class HeadKeys:
    """The keys of an installation: the first one signs, each verifies, so that they can be rotated."""

    def __init__(self, secrets: Sequence[str] = (), public_keys: Iterable[str] = ()) -> None:
        """`secrets` are seeds of 32 bytes in hexadecimal; `public_keys` are further keys that verify, written likewise.

        Raises ValueError if one has another length.
        """
        private = [Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)) for secret in secrets]
        self._signer = private[0] if private else None
        public = [key.public_key() for key in private]
        public += [Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in public_keys]
        self.public = {_id_of(key): key for key in public}

    @property
    def can_sign(self) -> bool:
        """Whether there is a key to sign with."""
        return self._signer is not None

    def public_texts(self) -> dict[str, str]:
        """The public keys in hexadecimal, by the names that heads give them; the signing one first."""
        return {key_id.hex(): _raw(key).hex() for key_id, key in self.public.items()}

    def sign(self, head: TreeHead) -> SignedHead:
        """The head, signed. Raises ValueError without a key."""
        if self._signer is None:
            raise ValueError("no key to sign with")
        return SignedHead(head, _id_of(self._signer.public_key()), self._signer.sign(head.message()))

    def verify(self, signed: SignedHead) -> None:
        """Raises UntrustedHead unless one of the keys signed it as it is."""
        key = self.public.get(signed.key_id)
        if key is None:
            raise UntrustedHead(f"signed by the key {signed.key_id.hex()}, which is not known here")
        try:
            key.verify(signed.signature, signed.head.message())
        except InvalidSignature:
            raise UntrustedHead("its signature is not that of its content") from None


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _id_of(key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(_raw(key)).digest()[:8]
