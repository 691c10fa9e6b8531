"""Signatures of webhooks, as Standard Webhooks 1.0 says: HMAC-SHA256 over id, time and body. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64


def signing_key(secret: str) -> bytes:
    """The key in a secret; raises ValueError, which does not repeat it, unless it is `whsec_` and base64."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise ValueError(f"a secret that signs is {PREFIX} and {LEAST_BYTES} to {MOST_BYTES} bytes in base64")
    return key


def signature_headers(keys: Iterable[bytes], message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three headers by which a receiver knows the sender, a repeat and an old request: a signature by each key."""
    signed = b"%b.%d.%b" % (message_id.encode(), at_s, body)
    signatures = (b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
