"""People who were erased: how they are recognised, and what stands in their place."""

import hashlib
from dataclasses import dataclass, field

NOBODY = "(erased)"
"""The user of rows and records that are kept for their numbers alone. No event, profile or mail of this user counts."""
_PERSON = b"erased person"


def is_nobody(user_id: str) -> bool:
    """Whether this is no user, but stands in the place of one who was erased or carries no meaning at all."""
    return user_id.startswith(NOBODY)


@dataclass(frozen=True, slots=True)
class PersonHasher:
    """Turns a user id into the key by which an erased person is recognised: keyed BLAKE2b of 16 bytes.

    Without the secret it tells nothing, not even to who tries all ids.
    """

    secret: bytes = field(repr=False)

    def __call__(self, user_id: str) -> bytes:
        """The hash of this id."""
        return self._hash(user_id.encode("utf-8", "surrogatepass"), _PERSON)

    @property
    def key_id(self) -> bytes:
        """Names the secret without telling it: hashes under another one have another name."""
        return self._hash(b"", b"name of the key")

    def _hash(self, text: bytes, person: bytes) -> bytes:
        key = hashlib.blake2b(self.secret, digest_size=32).digest()
        return hashlib.blake2b(text, digest_size=16, key=key, person=person).digest()


NO_KEY = PersonHasher(b"")
"""Of processes without a key. They end once somebody was erased."""
