"""The facts that an expression is evaluated over, given by files and options: event, user, occurrence, segments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cli.rules.given_user import GivenMeasures, GivenUser, read_mapping, read_user, shown_place, validated
from schemas.events import Event
from schemas.types import Instant, Properties, PublishedFact
from triggers.cel.conditions import Context
from triggers.cel.runtime import MissingField, as_ms
from triggers.rules.events import StoredEvent, event_map
from triggers.rules.state import User


@dataclass(frozen=True, slots=True)
class FactFiles:
    """Where facts come from: files, `-` for standard input, or JSON itself; and the user's segments, by name."""

    event: str | None = None
    user: str | None = None
    occurrence: str | None = None
    segments: tuple[str, ...] = ()


class _OccurrenceForm(PublishedFact, extra="forbid"):
    """An occurrence as its file writes it."""

    id: str = "occurrence"
    key: Any = None
    entered_at: Instant | None = None
    variant: str | None = None
    event: Properties | None = None
    matched: Properties | None = None
    events: list[Properties] | None = None


@dataclass(slots=True)
class GivenOccurrence:
    """An occurrence as expressions see it."""

    id: str
    key: Any
    entered_at: int
    variant: str | None
    event: StoredEvent
    match: StoredEvent | None
    entries: tuple[StoredEvent, ...]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The entries as maps."""
        return [event_map(each) for each in self.entries]

    @property
    def has_match(self) -> bool:
        """Whether a `wait_for` was satisfied."""
        return self.match is not None

    @property
    def matched(self) -> StoredEvent:
        """The event that satisfied it; raises MissingField if none did."""
        if self.match is None:
            raise MissingField("no `wait_for` was satisfied")
        return self.match


@dataclass(frozen=True, slots=True)
class Facts:
    """What is given; None for what is not."""

    event: StoredEvent | None = None
    user: GivenUser | None = None
    occurrence: GivenOccurrence | None = None
    segments: frozenset[str] = frozenset()
    now_ms: int = 0
    written: Mapping[str, Any] = field(default_factory=dict)
    """The event as it is given."""

    @property
    def of_a_send(self) -> bool:
        """Whether more is given than a user: what a rule knows when it sends."""
        return self.event is not None or self.occurrence is not None or bool(self.segments)

    def missing(self, root: str) -> str:
        """How to give what a name reads; empty if it is given."""
        has_user = self.user is not None
        wanted = {
            "event": (self.event is not None, "--event FILE"),
            "user": (has_user, "--user FILE"),
            "score": (has_user, '--user FILE, as in {"score": {"engagement": 3}}'),
            "metric": (has_user, '--user FILE, as in {"metric": {"orders": 2}}'),
            "segment": (has_user or bool(self.segments), "--segment NAME if the user is in it, or else --user FILE"),
            "occurrence": (self.occurrence is not None, "--occurrence FILE"),
        }
        given, how = wanted.get(root, (True, ""))
        return "" if given else how

    def context(self) -> Context:
        """The names of expressions. A score that is not given is 0, and a metric has counted nothing."""
        given = self.user or GivenUser()
        user = User(given.id, given.own.zone, given.own.locale, given.attributes)
        return Context(
            self.event or _event({}, "", self.now_ms),
            user,
            self.occurrence,
            lambda name: given.own.score.get(name, 0.0),
            self.now_ms,
            lambda name, field: _measured(given.own.metric.get(name, 0), field, self.now_ms),
            self.segments.__contains__,
        )


def _measured(given: float | GivenMeasures, field: str, now_ms: int) -> float | None:
    """A field of a metric; a plain number is its count and its sum. All events came now, as at a case's start."""
    if isinstance(given, GivenMeasures):
        count: float = int(bool(given.sum)) if given.count is None else given.count
        measures = {"sum": given.sum or 0.0, "distinct": count if given.distinct is None else given.distinct}
    else:
        count, measures = given, {"sum": given, "distinct": given}
    if field in ("first", "last"):
        return float(now_ms) if count > 0 else None
    return float({"count": count, **measures}[field])


def read_facts(files: FactFiles) -> Facts:
    """Reads the files; raises BadInput or InvalidRules."""
    now_ms = as_ms(datetime.now(UTC))
    user = read_user(files.user) if files.user is not None else None
    written: dict[str, Any] = {}
    event: StoredEvent | None = None
    if files.event is not None:
        written = read_mapping(files.event, "--event")
        event = _event(written, shown_place(files.event, "--event"), now_ms)
    segments = frozenset(files.segments)
    if files.occurrence is None:
        return Facts(event, user, None, segments, now_ms, written)
    place = shown_place(files.occurrence, "--occurrence")
    form = validated(_OccurrenceForm, read_mapping(files.occurrence, "--occurrence"), f"{place}: not an occurrence")
    if event is None and form.event is not None:
        event = _event(form.event, f"{place}: event", now_ms)
    occurrence = _occurrence(form, place, event, user, now_ms)
    return Facts(event, user, occurrence, segments, now_ms, written)


def _event(data: dict[str, Any], place: str, now_ms: int) -> StoredEvent:
    """An event; what its envelope lacks is made up."""
    made_up = {"id": "event", "type": "event", "user_id": None, "time": datetime.fromtimestamp(now_ms / 1000, UTC)}
    known = {name: value for name, value in data.items() if value is not None}
    found = validated(Event, made_up | known, f"{place}: not an event")
    return StoredEvent(found.id, found.type, as_ms(found.time), found.source, found.properties)


def _occurrence(
    form: _OccurrenceForm, place: str, event: StoredEvent | None, user: GivenUser | None, now_ms: int
) -> GivenOccurrence:
    entry = event or _event({}, "", now_ms)
    entered_at = entry.time_ms if form.entered_at is None else as_ms(form.entered_at)
    variant = form.variant or (user.own.variant if user is not None else None)
    match = None if form.matched is None else _event(form.matched, f"{place}: matched", now_ms)
    entries = [_event(each, f"{place}: events", now_ms) for each in form.events or ()]
    return GivenOccurrence(form.id, form.key, entered_at, variant, entry, match, tuple(entries) or (entry,))
