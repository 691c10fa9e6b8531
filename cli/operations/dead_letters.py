"""Reads dead letters for operators: what was put aside, from where, why, and which letters were replayed.

The transaction that replays a record also writes a mark to `dead-letters`: the record's key, no value, and the header
REPLAYED with the record's place. The mark is newer than the letter, so it is kept at least as long, and reading the
letters also reads the marks. Without marks, a scan of the source topics would read everything published since.
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
"""The header of a replayed record: topic[partition]@offset of the original."""


class BadFilter(UserError):
    """A filter of dead letters is wrong."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter of letters; an empty field accepts all."""

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
    """The selected letters, oldest first in each partition, and the places of all replayed records."""

    chosen: list[DeadLetter] = field(default_factory=list)
    replayed: set[str] = field(default_factory=set)


def read_letters(kafka: str, selection: Selection = Selection()) -> Letters:
    """Reads the selected dead letters, and which records were replayed."""
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
    """The places of the original records, from the headers of a replayed one."""
    found = headers if isinstance(headers, list) else []
    yield from (value.decode() for name, value in found if name == REPLAYED)


def cause_named(text: str | None) -> DeadLetterCause | None:
    """The cause with this name; raises BadFilter."""
    if text is None or text in set(DeadLetterCause):
        return None if text is None else DeadLetterCause(text)
    raise BadFilter(f"unknown cause {text!r}; use one of {', '.join(DeadLetterCause)}")


def moment(text: str | None, now: datetime) -> datetime | None:
    """Parses a duration before now, or ISO 8601 (UTC without a zone); raises BadFilter."""
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
    """The beginning of the original bytes, safe for a terminal."""
    raw = letter.original_value()
    if raw is None:
        return "(no value)"
    text = raw[:width].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else "�" for c in text)
    return shown + ("…" if len(raw) > width else "")


def whole(raw: bytes | None) -> str:
    """All of the bytes, safe for a terminal: unprintable characters are escaped, line breaks stay."""
    if raw is None:
        return "(none)"
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
