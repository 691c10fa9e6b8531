"""The entries of the ledger: what one says, and the row that keeps it at its place in chain and tree. Pure."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

import orjson

from web.consent import sealing
from web.consent.merkle import leaf_hash
from web.profiles.profile_state import microseconds, moment

EVERY_PURPOSE = "*"
FORMAT = "ebbtide-consent-1"


class ConsentAnswer(StrEnum):
    """What became of a consent."""

    GRANTED = "granted"
    WITHDRAWN = "withdrawn"
    LIFTED = "lifted"
    """A person lifted what withheld all mail (purpose `*`). It gives no consent."""


@dataclass(frozen=True, slots=True)
class ConsentChange:
    """One consent given or taken back, with its proof, and where it was seen."""

    user_id: str
    purpose: str
    answer: ConsentAnswer
    time_us: int
    method: str
    text_version: str
    source: str
    seen: str = ""
    """The record that said so, as `profiles[3]@17`."""

    def content(self) -> bytes:
        """What is sealed: JSON."""
        return orjson.dumps(self.as_json(), option=orjson.OPT_SORT_KEYS)

    def as_json(self) -> dict[str, str]:
        """The change as it is shown."""
        return {
            "user_id": self.user_id,
            "purpose": self.purpose,
            "answer": self.answer.value,
            "time": moment(self.time_us),
            "method": self.method,
            "text_version": self.text_version,
            "source": self.source,
            "seen": self.seen,
        }

    @classmethod
    def of_content(cls, content: bytes) -> "ConsentChange":
        """The change that was sealed."""
        said: dict[str, str] = orjson.loads(content)
        time_us = microseconds(datetime.fromisoformat(said.pop("time")))
        return cls(answer=ConsentAnswer(said.pop("answer")), time_us=time_us, **said)


@dataclass(frozen=True)
class ConsentRow:
    """A sealed entry at its place: the partition's chain, and its number there, from 0."""

    partition: int
    number: int
    seen_us: int
    """When the record was appended to its topic."""
    person: bytes
    salt: bytes
    committed: bytes
    sealed: bytes

    @cached_property
    def leaf(self) -> bytes:
        """The hash of the row as a leaf."""
        return leaf_hash(orjson.dumps(self.fields()))

    def fields(self) -> list[Any]:
        """What the hash covers, as a JSON array."""
        texts = [each.hex() for each in (self.person, self.salt, self.committed, self.sealed)]
        return [FORMAT, self.partition, self.number, self.seen_us, *texts]

    @classmethod
    def of_fields(cls, fields: list[Any]) -> "ConsentRow":
        """The row with these fields. Raises ValueError if they are none."""
        try:
            written, partition, number, seen_us, *texts = fields
            person, salt, committed, sealed = (bytes.fromhex(text) for text in texts)
        except (TypeError, ValueError):
            raise ValueError("not the fields of a row") from None
        if written != FORMAT or not all(type(each) is int for each in (partition, number, seen_us)):
            raise ValueError(f"not a row of the format {FORMAT}")
        return cls(partition, number, seen_us, person, salt, committed, sealed)

    def change(self, key: bytes) -> ConsentChange:
        """What the entry says, by its key. Raises NotItsKey."""
        return ConsentChange.of_content(sealing.unseal(key, self.committed, self.sealed))


def sealed_row(
    change: ConsentChange, person_key: bytes, salt: bytes, partition: int, number: int, seen_us: int
) -> ConsentRow:
    """The row of a change. A person's salt must be new for each."""
    key = sealing.entry_key(person_key, salt)
    sealed = sealing.seal(key, change.content())
    person = sealing.pseudonym(person_key)
    return ConsentRow(partition, number, seen_us, person, salt, sealing.commitment(key), sealed)


def chained(previous: bytes, leaf: bytes) -> bytes:
    """The hash of a row in its chain: over that of the row before, which is empty for the first, and its leaf."""
    return hashlib.sha256(previous + leaf).digest()
