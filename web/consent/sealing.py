"""How an entry is kept so that only its person's key tells whose it is and what it says. Pure: randomness is passed in.

Each person has a random key. The pseudonym is a keyed hash; the key of one entry is made from the person's key and the
entry's salt, so whoever is given it can read that entry and no other. Nobody can read an entry whose person's key is
gone. A seal has a commitment to its key (AES-GCM alone has none): an entry opens in one way only.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
SALT_BYTES = 16
_NONCE = bytes(12)
"""A key seals one entry: it needs no other."""


class NotItsKey(ValueError):
    """The key does not open the entry."""


def pseudonym(person_key: bytes) -> bytes:
    """The name of a person in the ledger."""
    return hmac.digest(person_key, b"ebbtide consent person", "sha256")


def entry_key(person_key: bytes, salt: bytes) -> bytes:
    """The key of one entry."""
    return hmac.digest(person_key, b"ebbtide consent entry" + salt, "sha256")


def commitment(key: bytes) -> bytes:
    """What is kept beside an entry to show which key opens it. It does not tell the key."""
    return hashlib.sha256(b"ebbtide consent commitment" + key).digest()


def seal(key: bytes, content: bytes) -> bytes:
    """The content, encrypted by the entry's key, which must seal nothing else."""
    return AESGCM(key).encrypt(_NONCE, content, None)


def unseal(key: bytes, committed: bytes, sealed: bytes) -> bytes:
    """The content of an entry. Raises NotItsKey."""
    if len(key) != KEY_BYTES or not hmac.compare_digest(commitment(key), committed):
        raise NotItsKey("another key sealed the entry")
    try:
        return AESGCM(key).decrypt(_NONCE, sealed, None)
    except InvalidTag:
        raise NotItsKey("the entry was changed after it was sealed") from None
