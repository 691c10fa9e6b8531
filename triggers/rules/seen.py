"""The event ids that a user's state remembers, so that an event that is delivered again changes nothing.

An id is kept as its XXH3 digest of 64 bits (Collet, xxHash specification), not as text: 14 bytes with its instant
however long ids are. That another of the 64 ids has the same digest, and a new event counts as repeated, happens once
in 3e17 events.
"""

from msgspec import Struct
from xxhash import xxh3_64_digest

SEEN_IDS = 64
SEEN_MS = 86_400_000
_DIGEST = 8
_INSTANT = 6
"""Bytes of an instant in milliseconds, from the year -2490 to 6429: a case may start before 1970 in UTC."""


class SeenIds(Struct, array_like=True, gc=False):
    """The last 64 ids within 24 h, oldest first: their digests, and the instants at which they were applied."""

    digests: bytes = b""
    instants: bytes = b""

    def __len__(self) -> int:
        return len(self.digests) // _DIGEST

    def __contains__(self, event_id: str) -> bool:
        return self._holds(xxh3_64_digest(event_id.encode()))

    def add(self, event_id: str, now_ms: int) -> bool:
        """Forgets ids that are 24 h old. Returns whether the id is new, and remembers it."""
        instants = self.instants
        if instants and now_ms - int.from_bytes(instants[:_INSTANT], "big", signed=True) >= SEEN_MS:
            self._forget(now_ms)
            instants = self.instants
        digest, digests = xxh3_64_digest(event_id.encode()), self.digests
        if digests.find(digest) >= 0 and self._holds(digest):  # saves the call for most events
            return False
        if len(digests) >= SEEN_IDS * _DIGEST:
            digests, instants = digests[_DIGEST:], instants[_INSTANT:]
        self.digests = digests + digest
        self.instants = instants + now_ms.to_bytes(_INSTANT, "big", signed=True)
        return True

    def _holds(self, digest: bytes) -> bool:
        at = self.digests.find(digest)
        while at > 0 and at % _DIGEST:  # found across two digests
            at = self.digests.find(digest, at + 1)
        return at >= 0

    def _forget(self, now_ms: int) -> None:
        gone = 0
        for at in range(0, len(self.instants), _INSTANT):
            if now_ms - _instant(self.instants, at) < SEEN_MS:
                break
            gone += 1
        self.digests = self.digests[gone * _DIGEST :]
        self.instants = self.instants[gone * _INSTANT :]


def _instant(instants: bytes, at: int) -> int:
    return int.from_bytes(instants[at : at + _INSTANT], "big", signed=True)
