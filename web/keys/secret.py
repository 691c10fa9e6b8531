"""The secrets of write keys: how one is made, and the hash under which it is kept.

A secret has 160 random bits, so nobody finds it by trying, and a plain SHA-256 is enough: a slow hash with a salt
protects words that people choose. For the same reason a look-up by hash need not take constant time. Who measures it
learns about the hash of a guess, and no guess comes near another one's hash.
"""

import base64
import hashlib

from web.keys.write_key import KeyClass

RANDOM_BYTES = 20
LONGEST = 128
"""No secret is longer, so a longer one is not hashed."""


def secret_of(key_class: KeyClass, random: bytes) -> str:
    """The secret made of these random bytes. Its beginning tells a server's key from one that a page may show."""
    return f"eb{key_class}_{base64.b32encode(random).decode().lower()}"


def hash_of(secret: str) -> bytes:
    """The hash by which the key with this secret is found."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
