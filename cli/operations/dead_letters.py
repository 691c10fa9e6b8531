"""Dead letters as an operator sees them: what was put aside, where it came from, why, and which were sent again.

A replay leaves a mark on `dead-letters` itself, in the transaction that sends the record again: the record's key, no
value, and the header REPLAYED with its place. It is younger than the letter and so kept as long, and who reads the
letters reads it too; a scan of the source topics would read all that was published since.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cli.operations.publish import InvalidFact, duration
from infra.kafka.topic_reader import read_all
from schemas.codec import decode
from schemas.deadletters import DeadLetter
from schemas.errors import UserError
from schemas.topics import DEAD_LETTERS
from schemas.vocabulary import DeadLetterCause

REPLAYED = "ebbtide-replayed"
"""The header of a record that was sent again: topic[partition]@offset of the original."""


class BadFilter(UserError):
    """What was to be chosen cannot be."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant; what is left empty narrows nothing."""

    cause: DeadLetterCause | None = None
    topic: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    places: frozenset[str] = frozenset()

    def __contains__(self, letter: DeadLetter) -> bool:
        return (
            self.cause in (None, letter.cause)
            and self.topic in (None, letter.topic)
            and (self.since is None or letter.time >= self.since)
            and (self.until is None or letter.time < self.until)
            and (not self.places or letter.place in self.places)
        )


@dataclass(slots=True)
class Letters:
    """The letters chosen, oldest first by partition, and the place of every record that was ever sent again."""

    chosen: list[DeadLetter] = field(default_factory=list)
    replayed: set[str] = field(default_factory=set)


def read_letters(kafka: str, selection: Selection = Selection()) -> Letters:
    """Every dead letter kept that is chosen, and what became of them."""
    letters = Letters()
    for message in read_all(kafka, DEAD_LETTERS.name):
        if message.value() is None:
            letters.replayed.update(marks(message.headers()))
            continue
        letter = decode(DeadLetter, message.value())
        if letter in selection:
            letters.chosen.append(letter)
    return letters


def marks(headers: object) -> Iterator[str]:
    """The places that a record's headers say it is a replay of."""
    found = headers if isinstance(headers, list) else []
    yield from (value.decode() for name, value in found if name == REPLAYED)


def cause_named(text: str | None) -> DeadLetterCause | None:
    """The cause of that name; raises BadFilter."""
    if text is None or text in set(DeadLetterCause):
        return None if text is None else DeadLetterCause(text)
    raise BadFilter(f"no cause {text!r}; there are: {', '.join(DeadLetterCause)}")


def moment(text: str | None, now: datetime) -> datetime | None:
    """An instant written as a duration before now, or as ISO 8601 (UTC where it names no zone); raises BadFilter."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - duration(text)
        except InvalidFact:
            raise BadFilter(f"{text!r} is not a time; write 2h for two hours ago, or 2026-11-24T18:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def excerpt(letter: DeadLetter, width: int = 60) -> str:
    """The beginning of the original bytes, made safe for a terminal."""
    raw = letter.original_value()
    if raw is None:
        return "(no value)"
    text = raw[:width].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else "�" for c in text)
    return shown + ("…" if len(raw) > width else "")


def whole(raw: bytes | None) -> str:
    """All of the bytes, safe for a terminal: unprintable text is escaped, lines stay lines."""
    if raw is None:
        return "(none)"
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
