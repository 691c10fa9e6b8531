"""Rules as they run: immutable, with every expression compiled and every duration in milliseconds."""

from dataclasses import dataclass, field
from datetime import time
from typing import Literal

from triggers.cel.conditions import Condition
from triggers.measures.decay import MAX_SCORE, Curve
from triggers.measures.shapes import Period, Schedule, Window
from triggers.measures.windows import Measure

CapScope = Literal["trigger", "key", "purpose", "channel", "all"]
Over = Literal["drop", "defer"]
Mode = Literal["off", "shadow", "canary", "live"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """An event: one of `types`, with `where` true and the fields `same` equal to the entry event's."""

    types: tuple[str, ...]
    where: Condition | None = None
    same: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Crossing:
    """A score that crosses `line`. Falling, it must have been at `rearm` or above before; rising, below it."""

    score: str
    falls: bool
    line: float
    rearm: float


@dataclass(frozen=True, slots=True)
class Metric:
    """What the events of a pattern come to within a window; None has no end. `name` is empty in a crossing."""

    name: str
    pattern: Pattern
    window: Window | None
    sum: Condition | None = None
    distinct: Condition | None = None


@dataclass(frozen=True, slots=True)
class WindowCrossing:
    """What happens within a window, counted, summed or told apart, crosses `line`, otherwise as a score does."""

    metric: Metric
    measure: Measure
    falls: bool
    line: float
    rearm: float


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """A user enters a segment, or leaves it."""

    segment: str
    enters: bool


@dataclass(frozen=True, slots=True)
class Sequence:
    """Events in the listed order within a time, equal in the fields `same`; others may lie between."""

    patterns: tuple[Pattern, ...]
    within_ms: int
    same: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Anniversary:
    """A moment that a date of the user's profile sets: so long after it (before, where negative), once or each year.

    With `at`, `offset_ms` is whole local days, counted before the clock is set; without, elapsed time.
    """

    date: Condition
    offset_ms: int = 0
    at: time | None = None
    yearly: bool = False
    zone: str | None = None


Source = Pattern | Crossing | WindowCrossing | SegmentChange | Sequence | Schedule | Anniversary


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `maximum` sends in the window, counted over `scope`."""

    maximum: int | Condition
    window: Window
    scope: CapScope = "trigger"
    over: Over = "drop"


@dataclass(frozen=True, slots=True)
class Quiet:
    """A period in which nothing goes out."""

    period: Period
    over: Over = "defer"


@dataclass(frozen=True, slots=True)
class Send:
    """One message. `id` is the step in the command's id."""

    id: str
    template: str
    template_hash: str
    channel: str = "email"
    to: Condition | None = None
    data: tuple[tuple[str, Condition], ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Elapsed time."""

    ms: int


@dataclass(frozen=True, slots=True)
class WaitSlot:
    """Until the schedule's next slot, strictly later than when the wait begins."""

    schedule: Schedule


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Until a timestamp, which is evaluated again whenever the profile changes; over at once where it is past."""

    moment: Condition


@dataclass(frozen=True, slots=True)
class Branch:
    """Goes on at the next step where `condition` holds, else at the step numbered `otherwise`."""

    condition: Condition
    otherwise: int


@dataclass(frozen=True, slots=True)
class Jump:
    """Goes on at the step numbered `target`."""

    target: int


@dataclass(frozen=True, slots=True)
class Exit:
    """Ends the occurrence."""


AnyWait = Wait | WaitSlot | WaitUntil
Step = Send | AnyWait | Branch | Jump | Exit


@dataclass(frozen=True, slots=True)
class Experiment:
    """Variants by weight."""

    salt: str
    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """What is counted after a send."""

    pattern: Pattern
    within_ms: int


@dataclass(frozen=True, slots=True)
class CaseInput:
    """One line of a case: at `at`, an event of a type or (type None) new profile attributes."""

    at: str
    type: str | None
    values: dict[str, object]
    line: int


@dataclass(frozen=True, slots=True)
class CaseExpectation:
    """What a case expects at `at`: a send by its id, a drop by its reason, or an end by its event."""

    at: str
    kind: Literal["send", "drop", "exit"]
    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a rule, with times as written."""

    name: str
    start: str
    user: dict[str, object]
    given: tuple[CaseInput, ...]
    expect: tuple[CaseExpectation, ...]
    until: str | None
    policies: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger, policies not yet added."""

    name: str
    rule_hash: str
    path: str
    purpose: str
    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    owner: str = ""
    description: str = ""
    mode: Mode = "live"
    canary_percent: float = 100.0
    key: tuple[Condition, ...] = ()
    overlap: Literal["restart", "ignore"] = "restart"
    reentry_ms: int | None = 0
    """0 is always, None is never."""
    unless: tuple[Pattern, ...] = ()
    when: Condition | None = None
    caps: tuple[Cap, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    expires_ms: int = 86_400_000
    max_age_ms: int = 86_400_000
    settle_ms: int = 0
    priority: int = 50
    holdouts: tuple[tuple[str, float], ...] = ()
    """Who is held out by whom: (name of the rule or policy, percent)."""
    experiment: Experiment | None = None
    goal: Goal | None = None
    cases: tuple[Case, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Addition:
    """What adds how much to a score."""

    pattern: Pattern
    points: Condition


@dataclass(frozen=True, slots=True)
class Score:
    """One decaying score."""

    name: str
    curve: Curve
    additions: tuple[Addition, ...]
    ceiling: float = MAX_SCORE


@dataclass(frozen=True, slots=True)
class Segment:
    """The users for whom `when` is true. `lines` are the scores that it compares, each with the line it does so with:
    `when` asks of them only whether they are below it.

    `key` is what states keep it by. It changes with `when`: a segment that is edited is met anew, and moves nobody.
    """

    name: str
    key: str
    when: Condition
    lines: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What every trigger of a purpose or channel obeys besides its own rules."""

    name: str
    purpose: str | None = None
    channel: str | None = None
    caps: tuple[Cap, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    holdout_percent: float = 0.0
    expires_ms: int | None = None
