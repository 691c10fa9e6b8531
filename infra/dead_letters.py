"""Dead letters as an operator sees them: what was put aside, where it came from, and why."""

from collections.abc import Iterator

from infra.kafka import read_all
from schemas.codec import decode
from schemas.deadletters import DeadLetter
from schemas.topics import DEAD_LETTERS
from schemas.vocabulary import DeadLetterCause


def list_dead_letters(
    kafka: str, cause: DeadLetterCause | None = None, topic: str | None = None
) -> Iterator[DeadLetter]:
    """Every dead letter kept, oldest first by partition, narrowed where asked."""
    for message in read_all(kafka, DEAD_LETTERS.name):
        letter = decode(DeadLetter, message.value())
        if cause in (None, letter.cause) and topic in (None, letter.topic):
            yield letter


def excerpt(letter: DeadLetter, width: int = 60) -> str:
    """The beginning of the original bytes, made safe for a terminal."""
    raw = letter.original_value()
    if raw is None:
        return "(no value)"
    text = raw[:width].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else "�" for c in text)
    return shown + ("…" if len(raw) > width else "")
