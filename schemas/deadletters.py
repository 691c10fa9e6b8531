"""Dead letters: what could not be read or processed, with its place and its original bytes."""

import base64
from datetime import datetime
from typing import Annotated

from pydantic import Field

from schemas.types import Count, Fact, Instant
from schemas.vocabulary import DeadLetterCause

LARGEST_KEPT = 350_000
"""The most bytes of key and value. In base64, and with the key as the letter's own key, they become 2.3 times as many;
Kafka's default limit is one megabyte a record."""
LONGEST_DETAIL = 1900


class DeadLetter(Fact):
    """One record put aside. Key and value are base64, since nothing promises that they are text.

    A user's timers that failed are no record: their topic is `user-state`, their key the user, their offset the instant
    in milliseconds at which they were due, and there is no value.
    """

    topic: str
    partition: Count
    offset: Count
    cause: DeadLetterCause
    detail: Annotated[str, Field(max_length=2048)]
    reader: str
    time: Instant
    key: str | None = None
    value: str | None = None
    applied: bool = False
    """Whether the record took effect except for what failed. Then its id is remembered, and a repeat does nothing."""

    @property
    def place(self) -> str:
        """The record's place, as people write it: topic[partition]@offset."""
        return f"{self.topic}[{self.partition}]@{self.offset}"

    def without_bytes(self) -> "DeadLetter":
        """The letter without key and value, which are too large for a record."""
        size = sum(len(raw or b"") for raw in (self.original_key(), self.original_value()))
        return self.model_copy(update={"key": None, "value": None, "detail": f"{self.detail}; {_too_many(size)}"})

    def original_key(self) -> bytes | None:
        """The key as it was published."""
        return None if self.key is None else base64.b64decode(self.key)

    def original_value(self) -> bytes | None:
        """The bytes as they were published."""
        return None if self.value is None else base64.b64decode(self.value)


def dead_letter(
    place: tuple[str, int, int],
    key: bytes | None,
    value: bytes | None,
    cause: DeadLetterCause,
    detail: str,
    *,
    reader: str,
    time: datetime,
    applied: bool = False,
) -> DeadLetter:
    """The dead letter of the record at `place` (topic, partition, offset), with its bytes unless they are too many."""
    detail = detail.encode("utf-8", "backslashreplace").decode()[:LONGEST_DETAIL]
    size = len(key or b"") + len(value or b"")
    if size > LARGEST_KEPT:
        key, value, detail = None, None, f"{detail}; {_too_many(size)}"
    topic, partition, offset = place
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        cause=cause,
        detail=detail,
        reader=reader,
        time=time,
        key=b64(key),
        value=b64(value),
        applied=applied,
    )


def _too_many(size: int) -> str:
    return f"its {size} bytes are too many for a dead letter: read them at their place"


def b64(raw: bytes | None) -> str | None:
    """Bytes as base64 text."""
    return None if raw is None else base64.b64encode(raw).decode()
