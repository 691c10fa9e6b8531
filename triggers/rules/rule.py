"""Rules as they run: immutable, with compiled expressions and durations in milliseconds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import time
from typing import Literal

from msgspec import Struct

from schemas.brands import consent_name
from schemas.endpoints import WEBHOOK
from triggers.cel.conditions import Condition
from triggers.measures.decay import MAX_SCORE, Curve
from triggers.measures.shapes import Period, Schedule, Window
from triggers.measures.windows import Measure

CapScope = Literal["trigger", "key", "purpose", "channel", "brand", "all"]
Over = Literal["drop", "defer"]
Mode = Literal["off", "shadow", "canary", "live"]
Overlap = Literal["restart", "ignore", "gather"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """Matches an event of one of `types` for which `where` is true and the `same` fields equal those of the entry
    event."""

    types: tuple[str, ...]
    where: Condition | None = None
    same: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Crossing:
    """A score crosses `line`. Falling, it must have been at `rearm` or above before; rising, below `rearm`."""

    score: str
    falls: bool
    line: float
    rearm: float


@dataclass(frozen=True, slots=True)
class Metric:
    """Aggregates the events of a pattern over a window. Without a window, over all time. `name` is empty in a
    crossing."""

    name: str
    pattern: Pattern
    window: Window | None
    sum: Condition | None = None
    distinct: Condition | None = None


@dataclass(frozen=True, slots=True)
class WindowCrossing:
    """A count, sum or number of distinct values over a window crosses `line`, otherwise as a score does."""

    metric: Metric
    measure: Measure
    falls: bool
    line: float
    rearm: float


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """A user enters or leaves a segment."""

    segment: str
    enters: bool


@dataclass(frozen=True, slots=True)
class Sequence:
    """Events in the listed order within a time, with equal `same` fields. Other events may come between."""

    patterns: tuple[Pattern, ...]
    within_ms: int
    same: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Anniversary:
    """A moment relative to a date in the user's profile: `offset_ms` after it (before it, if negative), once or yearly.

    With `at`, `offset_ms` is whole local days, added before the local time is set. Without `at`, it is elapsed time.
    """

    date: Condition
    offset_ms: int = 0
    at: time | None = None
    yearly: bool = False
    zone: str | None = None


Source = Pattern | Crossing | WindowCrossing | SegmentChange | Sequence | Schedule | Anniversary


def recurs(sources: Iterable[Source]) -> bool:
    """Whether one of them begins something again and again by the clock alone."""
    return any(isinstance(each, Schedule) or (isinstance(each, Anniversary) and each.yearly) for each in sources)


class Cap(Struct, frozen=True, cache_hash=True):
    """At most `maximum` sends in the window, counted over `scope`."""

    maximum: int | Condition
    window: Window
    scope: CapScope
    over: Over
    spread_ms: int = 0
    """How long the users whose sends waited for room take to leave: each has a moment of its own in it."""


@dataclass(frozen=True, slots=True)
class SendBudget:
    """At most `maximum` commands in the window, over all users. Delivery holds the others; no gate asks it.

    `name` is `trigger/NAME` or `policy/NAME`.
    """

    name: str
    maximum: int
    window: Window


@dataclass(frozen=True, slots=True)
class Quiet:
    """A period in which nothing is sent."""

    period: Period
    over: Over


@dataclass(frozen=True, slots=True)
class Send:
    """Sends one message, or calls an endpoint: then `template` is its name, and `template_hash` empty.

    `id` is the step's name in the command's id.
    """

    id: str
    template: str
    template_hash: str
    channel: str
    to: Condition | None = None
    data: tuple[tuple[str, Condition], ...] = ()

    @property
    def is_webhook(self) -> bool:
        """Whether it is no message to the user."""
        return self.channel == WEBHOOK


@dataclass(frozen=True, slots=True)
class Wait:
    """Waits for elapsed time."""

    ms: int


@dataclass(frozen=True, slots=True)
class WaitSlot:
    """Waits until the schedule's next slot, strictly after the wait begins."""

    schedule: Schedule


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Waits until a timestamp, which is evaluated again when the profile changes. A past timestamp ends the wait at
    once."""

    moment: Condition


@dataclass(frozen=True, slots=True)
class Branch:
    """Continues with the next step if `condition` holds, else with the step numbered `otherwise`."""

    condition: Condition
    otherwise: int


@dataclass(frozen=True, slots=True)
class Jump:
    """Continues with the step numbered `target`."""

    target: int


@dataclass(frozen=True, slots=True)
class Exit:
    """Ends the occurrence."""


AnyWait = Wait | WaitSlot | WaitUntil


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Waits for an event, at most as long as `up_to`: continues with the step numbered `then` once it came, else with
    the next step.

    States remember the event by `name`, which changes with the pattern.
    """

    name: str
    pattern: Pattern
    up_to: AnyWait
    then: int


Step = Send | AnyWait | WaitFor | Branch | Jump | Exit


@dataclass(frozen=True, slots=True)
class Experiment:
    """Variants and their weights."""

    salt: str
    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """The event that counts as success after a send."""

    pattern: Pattern
    within_ms: int


@dataclass(frozen=True, slots=True)
class CaseInput:
    """One input of a case: at `at`, an event of a type or, if the type is None, new profile attributes."""

    at: str
    type: str | None
    values: dict[str, object]
    line: int
    without_user: bool = False
    """Whether it is an event that concerns no user."""


@dataclass(frozen=True, slots=True)
class CaseExpectation:
    """What a case expects at `at`: a send by its id, a drop by its reason, or an exit by its event."""

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
    others: tuple[str, ...] = ()
    """Other rules that take part. Their sends are expected as `RULE/STEP`."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger."""

    name: str
    rule_hash: str
    path: str
    purpose: str
    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    mode: Mode
    canary_percent: float
    overlap: Overlap
    reentry_ms: int | None
    """0 means always, None means never."""
    expires_ms: int
    max_age_ms: int
    settle_ms: int
    priority: int
    brand: str | None = None
    owner: str = ""
    description: str = ""
    key: tuple[Condition, ...] = ()
    unless: tuple[Pattern, ...] = ()
    when: Condition | None = None
    caps: tuple[Cap, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    holdouts: tuple[tuple[str, float], ...] = ()
    """Holdouts: (name of the rule or policy, percent of users)."""
    experiment: Experiment | None = None
    goal: Goal | None = None
    budgets: tuple[SendBudget, ...] = ()
    follows: bool = False
    """Whether occurrences that run when the rule is edited continue with the newest text (`on_edit: follow`)."""
    cases: tuple[Case, ...] = field(default=(), compare=False)
    consent: str = field(init=False, default="")
    """The consent that it needs: its purpose, under its brand if it has one. Each send reads it several times."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "consent", consent_name(self.brand, self.purpose))

    @property
    def messages(self) -> tuple[Send, ...]:
        """Its sends to the user."""
        return tuple(step for step in self.steps if isinstance(step, Send) and not step.is_webhook)

    @property
    def webhooks(self) -> tuple[Send, ...]:
        """Its calls of endpoints."""
        return tuple(step for step in self.steps if isinstance(step, Send) and step.is_webhook)


@dataclass(frozen=True, slots=True)
class Addition:
    """Which events add how many points to a score."""

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
    """The users for whom `when` is true. `lines` are the scores that `when` compares, each with the number: `when` only
    tests whether a score is below it.

    States store the segment by `key`, which changes with `when`. So an edited segment is a new one, which nobody enters
    or leaves by the edit.
    """

    name: str
    key: str
    when: Condition
    lines: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits for every trigger of a purpose, brand or channel, in addition to its own."""

    name: str
    purpose: str | None = None
    channel: str | None = None
    brand: str | None = None
    caps: tuple[Cap, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    holdout_percent: float = 0.0
    expires_ms: int | None = None
    budget: SendBudget | None = None
