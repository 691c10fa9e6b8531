"""Reads a log of events, one JSON object a line. Lines that are not events are skipped and counted by kind."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import orjson

from schemas.codec import DecodeError, decode
from schemas.errors import UserError
from schemas.events import Event
from schemas.plain import plain_event
from schemas.vocabulary import DeadLetterCause
from schemas.wording import counted
from triggers.cases.timelines import UserEvent
from triggers.cel.runtime import as_ms
from triggers.language.case_time import FIRST_YEAR, LAST_YEAR
from triggers.rules.events import stored_event, stored_plain_event

MAX_LINE_BYTES = 1024 * 1024
"""The longest line: more than Kafka accepts as one record."""
MAX_KINDS = 20
"""The largest number of kinds of problem: a file that is not an event log could have one for each line."""
_REPORT_EVERY = 10_000
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_GZIP = b"\x1f\x8b"
_OTHERS = "other problems"
_PLAIN_FROM_MS, _PLAIN_TO_MS = (
    as_ms(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)),
    as_ms(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)),
)


class BadLog(UserError):
    """An event log cannot be read; the message names the file and the line."""


@dataclass(slots=True)
class SkippedLines:
    """Skipped lines with one kind of problem: how many, and the first of them."""

    kind: str
    count: int
    place: str
    detail: str

    def __str__(self) -> str:
        return f"{counted(self.count, 'line')} skipped: {self.kind}, first {self.place}: {self.detail}"


@dataclass(slots=True)
class LogReader:
    """One log: a file, compressed with gzip if its name ends in `.gz`, or `-` for standard input.

    With `strict`, the first line that is not an event raises BadLog; otherwise it is counted in `skipped`. `beside` has
    the unknown fields of events without properties.
    """

    log: Path
    strict: bool = True
    skipped: dict[str, SkippedLines] = field(default_factory=dict)
    beside: set[str] = field(default_factory=set)

    def events(self, progress: Callable[[int], None] | None = None) -> Iterator[UserEvent]:
        """The events in the order of the log; raises BadLog with file and line.

        It also raises BadLog if the log cannot be read to its end, or if no line is an event.
        """
        found = False
        for number, line in self._lines():
            if progress is not None and number % _REPORT_EVERY == 0:
                progress(number)
            if not line.strip():
                continue
            try:
                event = self._event(line)
            except DecodeError as error:
                self._note(number, error)
                continue
            found = True
            yield event
        if self.skipped and not found:
            first, *_ = self.skipped.values()
            count = sum(each.count for each in self.skipped.values())
            raise BadLog(f"{first.place}: not an event: {first.detail}; none of the {counted(count, 'line')} is one")

    def _event(self, line: bytes) -> UserEvent:
        if len(line) > MAX_LINE_BYTES:
            raise DecodeError(DeadLetterCause.INVALID, f"longer than {MAX_LINE_BYTES:,} bytes")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            detail = f"not UTF-8 at byte {error.start + 1} of the line; save the log as UTF-8"
            raise DecodeError(DeadLetterCause.NOT_JSON, detail) from None
        found = _plain(line) or _by_model(line)
        if not found[1].properties:
            self.beside |= orjson.loads(text).keys() - Event.model_fields.keys()
        return found

    def _note(self, number: int, error: DecodeError) -> None:
        place = f"{self._name}:{number}"
        if self.strict:
            raise BadLog(f"{place}: not an event: {error.detail}") from None
        kind = "not JSON" if error.cause is DeadLetterCause.NOT_JSON else "not an event"
        kind = f"{kind} ({', '.join(sorted(error.fields))})" if error.fields else kind
        if kind not in self.skipped and len(self.skipped) >= MAX_KINDS:
            kind = _OTHERS
        self.skipped.setdefault(kind, SkippedLines(kind, 0, place, error.detail)).count += 1

    @property
    def _name(self) -> str:
        return "<standard input>" if str(self.log) == "-" else str(self.log)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Each line with its number, without a byte order mark; only the beginning of a line that is too long."""
        number = 0
        with ExitStack() as stack:
            try:
                stream = self._open(stack)
                while line := stream.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    if number == 1:
                        self._check_encoding(line)
                        line = line.removeprefix(_BOM)
                    yield number, line
                    while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                        line = stream.readline(MAX_LINE_BYTES + 1)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise BadLog(f"{self.log}:{number + 1}: not a whole gzip file: {error}") from None
            except OSError as error:
                raise BadLog(f"{self._name}: cannot be read: {error.strerror or error}") from None

    def _open(self, stack: ExitStack) -> IO[bytes] | gzip.GzipFile:
        if str(self.log) == "-":
            return sys.stdin.buffer
        if self.log.suffix == ".gz":
            return stack.enter_context(gzip.open(self.log, "rb"))
        return stack.enter_context(self.log.open("rb"))

    def _check_encoding(self, line: bytes) -> None:
        if line.startswith(_UTF_16) or line.count(b"\0") * 3 > len(line):
            raise BadLog(f"{self._name}:1: the log is UTF-16; save it as UTF-8")
        if line.startswith(_GZIP):
            raise BadLog(f"{self._name}:1: the log is gzip; give it a name that ends in .gz")


def _plain(line: bytes) -> UserEvent | None:
    """The event of a line without its model; None if the model must decide."""
    event = plain_event(line)
    stored = None if event is None else stored_plain_event(event, line)
    if event is None or stored is None or not _PLAIN_FROM_MS <= stored.time_ms < _PLAIN_TO_MS:
        return None
    return event.user_id, stored


def _by_model(line: bytes) -> UserEvent:
    event = decode(Event, line)
    if not FIRST_YEAR <= event.time.year <= LAST_YEAR:
        detail = f"time: {event.time.year} is outside of the years {FIRST_YEAR} to {LAST_YEAR}"
        raise DecodeError(DeadLetterCause.INVALID, detail, frozenset({"time"}))
    return event.user_id, stored_event(event)
