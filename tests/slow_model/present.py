"""One user as of now: the past, what runs, the rules in force. And what expressions read of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from slow_model.expressions import Failed, holds
from slow_model.localtime import zone_of
from slow_model.past import Measured, Past, Seen, faded, measured
from slow_model.rulebook import Book, Measure, Pattern, Rule, Steps, Wait, WaitFor

Roots = Mapping[str, Callable[[str], Any]]


@dataclass
class Occurrence:
    """A trigger that runs. `due_ms` is when its next step is due, `wake_ms` when to look: later if it settles or is
    held. `pinned` is the rule as it was at entry; `waiting` the wait that it is in and since when; `if_met` what
    follows if the event comes for which it waits."""

    trigger: str
    id: str
    key: Any
    key_text: str | None
    began: str
    event: Seen
    entered_ms: int
    variant: str | None
    pinned: Rule
    todo: Steps
    due_ms: int
    wake_ms: int
    held: bool = False
    waiting: tuple[Wait | WaitFor, int] | None = None
    if_met: Steps = ()
    seen: dict[Pattern, Seen] = field(default_factory=dict)
    """By pattern of a wait, the first event since the entry that matched."""
    matched: Seen | None = None
    gathered: list[Seen] = field(default_factory=list)
    """The entries after the first."""
    passed: list[str] = field(default_factory=list)
    """The sends behind it."""
    passed_ms: int = 0
    """When the last of them was due."""
    unknown_ms: int | None = None
    """Since when its send has waited for the user's first profile."""


@dataclass
class Standing:
    """Where a level, or one group of its events, stands: armed, and under what its events are kept; falling, when it
    will cross, and the last crossing that was too old."""

    armed: bool
    level: str
    fed_by: str
    own: dict[str, Any]
    due_ms: int | None = None
    too_old_ms: int | None = None


@dataclass
class ExpectedWrites:
    """What must have been written about one user."""

    decisions: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    next_due_ms: int | None = None


@dataclass
class Present:
    """One user. `planned_ms` is when the profile, and with it dates, was last read; None before the first."""

    user_id: str
    past: Past = field(default_factory=Past)
    running: list[Occurrence] = field(default_factory=list)
    levels: dict[str, Standing] = field(default_factory=dict)
    segments: dict[str, bool] = field(default_factory=dict)
    """The last result of each."""
    asked_ms: dict[str, int] = field(default_factory=dict)
    """When that was."""
    kept_due_ms: dict[str, int] = field(default_factory=dict)
    """By segment, an instant at which it is still due for evaluation although a record of that instant was applied."""
    turned_by: dict[str, str] = field(default_factory=dict)
    """By segment, the name of the latest record of that instant, if the user is on the other side after it."""
    slots_after: dict[str, int] = field(default_factory=dict)
    planned_ms: int | None = None
    written: ExpectedWrites = field(default_factory=ExpectedWrites)
    now_ms: int = 0
    book: Book = field(default_factory=lambda: Book({}, {}))
    paused: frozenset[str] = frozenset()

    @property
    def zone(self) -> ZoneInfo:
        return zone_of(self.past.zone())


def score(me: Present, name: str, at_ms: int) -> float:
    """A score at an instant."""
    rule = me.book.scores[name]
    return faded(me.past.added.get(name, []), rule.curve, rule.ceiling, at_ms)


def _score_with_all(me: Present, name: str, at_ms: int) -> float:
    """A score at an instant, or at its newest addition: a rule that settles counts all that arrived meanwhile."""
    return score(me, name, max([at_ms, *(each.time_ms for each in me.past.added.get(name, []))]))


def measure(me: Present, name: str, what: Measure, at_ms: int) -> Measured:
    """A metric, or what a level counts, at an instant."""
    return measured(me.past.added.get(name, []), what, me.zone, at_ms)


def _metric(me: Present, name: str, at_ms: int) -> Any:
    name, field_name = name.split(".")
    found = measure(me, f"metric/{name}", me.book.metrics[name], at_ms)
    if field_name not in ("first", "last"):
        return getattr(found, field_name)
    time_ms = found.first_ms if field_name == "first" else found.last_ms
    if time_ms is None:
        raise Failed(f"nothing stands in {name}")
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def roots(me: Present, event: Seen | None, at_ms: int | None = None, occurrence: Occurrence | None = None) -> Roots:
    """What expressions read, as of an instant: now if none is given."""
    as_of_ms = me.now_ms if at_ms is None else at_ms

    def of_user(name: str) -> Any:
        if name == "id":
            return me.user_id
        profile = me.past.profile()
        return profile.get(name) if name in ("zone", "locale") else profile.get("attributes", {})[name]

    readable: dict[str, Callable[[str], Any]] = {
        "user": of_user,
        "score": lambda name: _score_with_all(me, name, as_of_ms),
        "metric": lambda name: _metric(me, name, as_of_ms),
        "segment": lambda name: belongs_now(me, name, as_of_ms),
        "now": lambda _: datetime.fromtimestamp(as_of_ms / 1000, UTC),
    }
    if event is not None:
        readable["event"] = lambda name: _of_event(event, name)
    if occurrence is not None:
        readable["occurrence"] = lambda name: _of_occurrence(occurrence, name)
    return readable


GATHERED = 100
"""How many of the latest entries an occurrence shows. Its bounds in bytes are beyond what histories have."""


def _as_map(event: Seen) -> dict[str, Any]:
    return event.properties | {name: _of_event(event, name) for name in ("id", "type", "time", "source")}


def _of_event(event: Seen, name: str) -> Any:
    if name == "time":
        return datetime.fromtimestamp(event.time_ms / 1000, UTC)
    return getattr(event, name) if name in ("id", "type", "source") else event.properties[name]


def _of_occurrence(occurrence: Occurrence, name: str) -> Any:
    facts: dict[str, Any] = {"id": occurrence.id, "key": occurrence.key, "variant": occurrence.variant}
    facts["events"] = [_as_map(event) for event in [occurrence.event, *occurrence.gathered][-GATHERED:]]
    events = {"event": occurrence.event, "matched": occurrence.matched}
    which, _, name_in_event = name.partition(".")
    if which not in events:
        return facts[name]
    event = events[which]
    if event is None:
        raise Failed("no event was waited for and came")
    return _of_event(event, name_in_event) if name_in_event else event


def belongs(me: Present, name: str, at_ms: int) -> bool:
    """Whether the user is in a segment as of an instant."""
    return is_true(me.book.segments[name], roots(me, None, at_ms))


def belongs_now(me: Present, name: str, at_ms: int) -> bool:
    """What a condition reads of a segment: one that names `now` keeps the result of its last evaluation."""
    if name in me.segments and "now" in me.book.segments[name]:
        return me.segments[name] is not (name in me.turned_by and at_ms >= me.now_ms)
    return belongs(me, name, at_ms)


def is_true(text: str | None, given: Roots) -> bool:
    """An expression that fails is false."""
    try:
        return holds(text, given)
    except Failed:
        return False


def matches(me: Present, pattern: Pattern, event: Seen) -> bool:
    """Whether the event is one of the pattern's types with `where` true."""
    return event.type in pattern.types and is_true(pattern.where, roots(me, event))


def agree(same: tuple[str, ...], one: Seen, other: Seen) -> bool:
    """Whether two events carry these fields, and equal."""
    mine, theirs = one.properties, other.properties
    return all(name in mine and name in theirs and mine[name] == theirs[name] for name in same)
