"""Reads logs of facts: events, profiles and outcomes, one JSON object a line. Lines that are none are skipped and
counted by kind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from cli.rules.log_blocks import MAX_LINE_BYTES, BadLog, LineBlock, LogFile
from schemas.codec import DecodeError, decode, parse_json, validate
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.plain import plain_event
from schemas.profiles import Profile
from schemas.types import Instant
from schemas.vocabulary import DeadLetterCause
from schemas.wording import counted
from triggers.cases.backtest import TimedProfile, UserEvent
from triggers.cel.runtime import as_ms
from triggers.language.case_time import FIRST_YEAR, LAST_YEAR
from triggers.rules.events import stored_event, stored_plain_event

MAX_KINDS = 20
"""The largest number of kinds of problem: a file that is not an event log could have one for each line."""
_REPORT_EVERY = 10_000
_OTHERS = "other problems"
_PLAIN_FROM_MS, _PLAIN_TO_MS = (
    as_ms(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)),
    as_ms(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)),
)
_INSTANT = TypeAdapter[datetime](Instant)
T = TypeVar("T")


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
class LineFindings:
    """What reading lines found beside facts."""

    facts: int = 0
    skipped: dict[str, SkippedLines] = field(default_factory=dict)
    beside: set[str] = field(default_factory=set)
    """The unknown fields of events without properties."""

    def note(self, more: SkippedLines) -> None:
        """Adds skipped lines. Those of a kind too many are counted together."""
        kind = more.kind
        if kind not in self.skipped and len(self.skipped) >= MAX_KINDS:
            kind = _OTHERS
        self.skipped.setdefault(kind, SkippedLines(kind, 0, more.place, more.detail)).count += more.count

    def add(self, other: "LineFindings") -> None:
        """Adds what the lines behind these gave."""
        self.facts += other.facts
        self.beside |= other.beside
        for each in other.skipped.values():
            self.note(each)

    def refuse_if_any(self, what: str) -> None:
        """Raises BadLog for the first line that was no fact."""
        for first in self.skipped.values():
            raise BadLog(f"{first.place}: not {what}: {first.detail}")

    def refuse_if_none(self, what: str) -> None:
        """Raises BadLog if there were lines, and none was a fact."""
        if self.skipped and not self.facts:
            first, *_ = self.skipped.values()
            count = sum(each.count for each in self.skipped.values())
            raise BadLog(f"{first.place}: not {what}: {first.detail}; none of the {counted(count, 'line')} is one")


@dataclass(slots=True)
class LineReader(Generic[T]):
    """Reads lines of one file as facts. With `strict`, the first line that is none raises BadLog."""

    name: str
    what: str
    """What a line should be, such as `an event`."""
    parse: Callable[[bytes], T]
    strict: bool = True
    findings: LineFindings = field(default_factory=LineFindings)

    def read(self, block: LineBlock, progress: Callable[[int], None] | None = None) -> Iterator[tuple[int, T]]:
        """The facts of a block, each with the number of its line; raises BadLog with file and line."""
        parse = self.parse
        for number, line in enumerate(block.lines(), block.first):
            if progress is not None and number % _REPORT_EVERY == 0:
                progress(number)
            try:
                fact = parse(line)
            except DecodeError as error:
                if line.strip():
                    self._note(number, error)
                continue
            self.findings.facts += 1
            yield number, fact

    def _note(self, number: int, error: DecodeError) -> None:
        place = f"{self.name}:{number}"
        if self.strict:
            raise BadLog(f"{place}: not {self.what}: {error.detail}") from None
        kind = "not JSON" if error.cause is DeadLetterCause.NOT_JSON else f"not {self.what}"
        kind = f"{kind} ({', '.join(sorted(error.fields))})" if error.fields else kind
        self.findings.note(SkippedLines(kind, 1, place, error.detail))


class EventReader(LineReader[UserEvent]):
    """Reads lines of a log of events."""

    def __init__(self, name: str, strict: bool = True) -> None:
        super().__init__(name, "an event", self._event, strict)

    def _event(self, line: bytes) -> UserEvent:
        check_line(line)
        found = _plain(line) or _by_model(line)
        if not found[1].properties:
            self.findings.beside |= orjson.loads(line).keys() - Event.model_fields.keys()
        return found


@dataclass(slots=True)
class LogReader:
    """One log of events: a file as `LogFile` opens it. `findings` has what is not an event."""

    log: Path
    strict: bool = True
    findings: LineFindings = field(default_factory=LineFindings)

    def events(self, progress: Callable[[int], None] | None = None) -> Iterator[UserEvent]:
        """The events in the order of the log; raises BadLog with file and line.

        It also raises BadLog if the log cannot be read to its end, or if no line is an event.
        """
        file = LogFile(self.log)
        reader = EventReader(file.name, self.strict)
        self.findings = reader.findings
        for block in file.blocks():
            for _, event in reader.read(block, progress):
                yield event
        self.findings.refuse_if_none(reader.what)


def check_line(line: bytes) -> None:
    """Raises DecodeError if a line is too long or not UTF-8."""
    if len(line) > MAX_LINE_BYTES:
        raise DecodeError(DeadLetterCause.INVALID, f"longer than {MAX_LINE_BYTES:,} bytes")
    if line.isascii():
        return
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"not UTF-8 at byte {error.start + 1} of the line; save the log as UTF-8"
        raise DecodeError(DeadLetterCause.NOT_JSON, detail) from None


def _plain(line: bytes) -> UserEvent | None:
    """The event of a line without its model; None if the model must decide."""
    event = plain_event(line)
    stored = None if event is None else stored_plain_event(event, line)
    if event is None or stored is None or not _PLAIN_FROM_MS <= stored.time_ms < _PLAIN_TO_MS:
        return None
    return event.user_id, stored


def _by_model(line: bytes) -> UserEvent:
    event = decode(Event, line)
    _check_year(event.time)
    return event.user_id, stored_event(event)


def _check_year(time: datetime) -> None:
    if not FIRST_YEAR <= time.year <= LAST_YEAR:
        detail = f"time: {time.year} is outside of the years {FIRST_YEAR} to {LAST_YEAR}"
        raise DecodeError(DeadLetterCause.INVALID, detail, frozenset({"time"}))


def profile_of_line(line: bytes) -> TimedProfile:
    """A profile as on its topic. A field `time` beside the others says from when it holds."""
    check_line(line)
    data = parse_json(line)
    profile = validate(Profile, data)
    given = data.get("time")
    if given is None:
        return None, profile
    try:
        time = _INSTANT.validate_python(given)
    except ValidationError:
        detail = "time: not a time with an offset, such as 2026-11-29T10:00:00Z"
        raise DecodeError(DeadLetterCause.INVALID, detail, frozenset({"time"})) from None
    _check_year(time)
    return as_ms(time), profile


def outcome_of_line(line: bytes) -> Outcome:
    """An outcome as on its topic."""
    check_line(line)
    outcome = decode(Outcome, line)
    _check_year(outcome.time)
    return outcome
