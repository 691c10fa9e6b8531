"""Dead letters: what could not be read or processed, with its place and its original bytes."""

import base64
from typing import Annotated

from pydantic import Field

from schemas.types import Count, Fact, Instant
from schemas.vocabulary import DeadLetterCause


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
    """Whether the record took effect but for what failed: then its id is remembered, and repeating it does nothing."""

    @property
    def place(self) -> str:
        """The record's place, as people write it: topic[partition]@offset."""
        return f"{self.topic}[{self.partition}]@{self.offset}"

    def original_key(self) -> bytes | None:
        """The key as it was published."""
        return None if self.key is None else base64.b64decode(self.key)

    def original_value(self) -> bytes | None:
        """The bytes as they were published."""
        return None if self.value is None else base64.b64decode(self.value)


def b64(raw: bytes | None) -> str | None:
    """Bytes as the text that a dead letter keeps them in."""
    return None if raw is None else base64.b64encode(raw).decode()
