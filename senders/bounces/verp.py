"""Return paths that name the command of a mail, signed, so that nobody can invent a bounce (VERP). Pure.

`b-TOKEN@bounces.example`: the token is the command's id (16 bytes) and the first 10 bytes of a keyed hash of it, in
base32, because servers change the case of local parts. The first key signs, and each verifies: a new key goes in front,
and the old one goes out when no mail with its signature can come back any more.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import SecretStr

PREFIX: Final = "b-"
_ID_BYTES, _MAC_BYTES = 16, 10
_COMMAND_ID = re.compile(r"[0-9a-f]{32}")
_TOKEN_CHARS = 42
"""26 bytes in base32, without the padding; with the prefix 44 of the 64 that a local part may have."""


@dataclass(frozen=True, slots=True)
class ReturnPaths:
    """The return paths of a domain under some keys, the newest first."""

    domain: str
    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def of(cls, domain: str | None, keys: Sequence[SecretStr]) -> "ReturnPaths | None":
        """The return paths of a domain; None without one, or without keys."""
        return cls(domain.lower(), tuple(key.get_secret_value().encode() for key in keys)) if domain and keys else None

    def address(self, command_id: str) -> str | None:
        """The return path of a command's mail; None if its id is not one of ours."""
        if not _COMMAND_ID.fullmatch(command_id):
            return None
        raw = bytes.fromhex(command_id)
        token = base64.b32encode(raw + _mac(self.keys[0], raw)).decode().rstrip("=").lower()
        return f"{PREFIX}{token}@{self.domain}"

    def command_id(self, address: str) -> str | None:
        """The command that a return path names; None if it is not signed by one of the keys."""
        local_part, _, domain = address.strip().strip("<>").lower().rpartition("@")
        token = local_part.removeprefix(PREFIX)
        if domain.rstrip(".") != self.domain or token == local_part or len(token) != _TOKEN_CHARS:
            return None
        try:
            raw = base64.b32decode(token.upper() + "=" * (-len(token) % 8))
        except (binascii.Error, ValueError):
            return None
        command, mac = raw[:_ID_BYTES], raw[_ID_BYTES:]
        signed = [hmac.compare_digest(_mac(key, command), mac) for key in self.keys]
        canonical = base64.b32encode(raw).decode().rstrip("=").lower() == token
        return command.hex() if any(signed) and canonical else None


def _mac(key: bytes, command: bytes) -> bytes:
    return hmac.digest(key, b"return path " + command, hashlib.sha256)[:_MAC_BYTES]
