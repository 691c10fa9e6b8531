"""One user's timeline, recomputed: what came in, what it changed, and what was decided, up to an instant or a decision.

The records are applied in the order of the journal, under the rules and switches that it names, by the code that
decided them. Where the journal does not reach back, the topics' own instants give the order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cli.lookback.partition_history import PartitionHistory
from cli.lookback.past_rules import PastRules
from schemas.codec import decode
from schemas.deadletters import DeadLetter
from schemas.decisions import Decision
from schemas.topics import DEAD_LETTERS, DECISIONS
from schemas.wording import counted
from streams.decisions.replay import Replay
from streams.decisions.update import InputRecord, Update
from triggers.measures.decay import ScoreState
from triggers.rules.encoding import decode as decode_state
from triggers.rules.state import Occurrence, UserState


@dataclass(frozen=True, slots=True)
class ScoreStep:
    """A score before and after something happened."""

    name: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened: a record, or timers that fired (`record` is None), and all that came of it."""

    at_ms: int
    record: InputRecord | None
    scores: tuple[ScoreStep, ...] = ()
    entered: tuple[str, ...] = ()
    """The segments that the user entered."""
    left: tuple[str, ...] = ()
    began: tuple[Occurrence, ...] = ()
    ended: tuple[Occurrence, ...] = ()
    decisions: tuple[Decision, ...] = ()
    problems: tuple[str, ...] = ()
    """What failed, as the dead letters say it."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing came of it."""
        changes = self.scores or self.entered or self.left or self.began or self.ended
        return not (changes or self.decisions or self.problems)


@dataclass(slots=True)
class UserTimeline:
    """Everything recomputed of a user."""

    user_id: str
    entries: list[TimelineEntry] = field(default_factory=list)
    state: bytes | None = None
    """The encoded state at the end; None if there is none."""
    curves: dict[str, list[tuple[int, ScoreState]]] = field(default_factory=dict)
    """Each score after each of its changes."""
    end_ms: int = 0
    """The clock at the end."""
    found: bool = True
    """Whether the decision, up to which it was to go, was recomputed."""
    notes: list[str] = field(default_factory=list)
    """What makes it less than exact."""
    differs: list[str] = field(default_factory=list)
    """What the topic `decisions` has otherwise."""
    compared: int = 0
    """How many recorded decisions it was compared with."""

    def decisions(self) -> Iterator[Decision]:
        """All decisions in their order."""
        for entry in self.entries:
            yield from entry.decisions


class _Ended(Exception):
    """Nothing more is to be applied."""


class _Recorder:
    """Follows the user's state through a replay, and keeps each change of it."""

    def __init__(self, timeline: UserTimeline, rules: PastRules, until: str | int | None) -> None:
        self.timeline = timeline
        self._rules = rules
        self._until = until
        self._state: UserState | None = None

    def see(self, record: InputRecord | None, now_ms: int, update: Update) -> None:
        """Adds what a record or a timer brought; raises _Ended behind the last that is wanted."""
        if isinstance(self._until, int) and now_ms > self._until:
            raise _Ended
        if update.removed or update.state is not None:
            self.timeline.state = update.state
        decisions = tuple(decode(Decision, out.value) for out in update.outgoing if out.topic == DECISIONS.name)
        before, after = self._state, self._state
        if update.removed:
            after = None
        elif update.state is not None:
            after = decode_state(self.timeline.user_id, update.state)
        self._state, self.timeline.end_ms = after, now_ms
        changes, problems = self._changes(before, after, now_ms), self._problems(update)
        entry = TimelineEntry(now_ms, record, **changes, decisions=decisions, problems=problems)
        is_own = record is not None and record.key is not None  # an event without a user concerns whom it meets
        if is_own or not entry.is_empty:
            self.timeline.entries.append(entry)
        if self._until is not None and any(self._until in (each.id, each.command_id) for each in decisions):
            raise _Ended

    def _changes(self, before: UserState | None, after: UserState | None, now_ms: int) -> dict[str, Any]:
        if before is after:
            return {}
        running, now_running = _running(before), _running(after)
        inside, now_inside = _inside(before), _inside(after)
        return {
            "scores": tuple(self._score_steps(before, after, now_ms)),
            "entered": tuple(sorted(now_inside - inside)),
            "left": tuple(sorted(inside - now_inside)),
            "began": tuple(each for key, each in now_running.items() if key not in running),
            "ended": tuple(each for key, each in running.items() if key not in now_running),
        }

    def _problems(self, update: Update) -> tuple[str, ...]:
        """What dead letters of the user say: that of an event without a user has no key."""
        own = self.timeline.user_id.encode()
        letters = (out for out in update.outgoing if out.topic == DEAD_LETTERS.name and out.key == own)
        return tuple(decode(DeadLetter, out.value).detail for out in letters)

    def _score_steps(self, before: UserState | None, after: UserState | None, now_ms: int) -> Iterator[ScoreStep]:
        old, new = before.scores if before else {}, after.scores if after else {}
        for name, score in new.items():
            if score != old.get(name):
                self.timeline.curves.setdefault(name, []).append((now_ms, score))
                yield ScoreStep(name, self._value(name, old.get(name), now_ms), self._value(name, score, now_ms))

    def _value(self, name: str, score: ScoreState | None, at_ms: int) -> float:
        curve = self._rules.curve(name)
        return 0.0 if score is None else score.value if curve is None else curve.read(score, at_ms)


def recompute(history: PartitionHistory, rules: PastRules, until: str | int | None = None) -> UserTimeline:
    """The timeline up to an instant in milliseconds, or up to a decision, named by its id or its command's."""
    timeline = UserTimeline(history.user_id)
    recorder = _Recorder(timeline, rules, until)
    replay = Replay(
        history.partition, history.partitions, history.inputs, only=history.user_id.encode(), observer=recorder.see
    )
    before = history.unjournaled()
    newest_control = max((switch.number for switch in rules.switches), default=0)
    try:
        for checkpoint in ([before] if before else []) + history.journal:
            manifest, control = checkpoint.manifest or rules.newest, checkpoint.control
            if not history.journal:
                control = newest_control
            replay.apply(checkpoint, rules.decider(manifest, control))
        timeline.found = not isinstance(until, str)
    except _Ended:
        timeline.found = True
    timeline.notes = [*_notes(history, rules, replay, exact=before is None)]
    _compare(timeline, history.decisions)
    return timeline


def _running(state: UserState | None) -> dict[tuple[str, str], Occurrence]:
    return {(each.trigger, each.id): each for each in state.running} if state else {}


def _inside(state: UserState | None) -> set[str]:
    return {name.partition("#")[0] for name, each in state.segments.items() if each.inside} if state else set()


def _notes(history: PartitionHistory, rules: PastRules, replay: Replay, *, exact: bool) -> Iterator[str]:
    if not history.journal:
        yield "the journal is empty: applied by the instants of the topics, under the current rules"
    elif not exact:
        first = history.journal[0]
        yield (
            f"the journal begins with checkpoint {first.number}: what was before is applied by the instants of the "
            f"topics under manifest {first.manifest}, and what the topics no longer have is missing"
        )
    elif not history.whole:
        yield "the journal does not begin with its first record: what was before it is missing"
    if rules.replaced:
        numbers = ", ".join(map(str, sorted(rules.replaced)))
        gone = counted(len(rules.replaced), "manifest")
        yield f"no longer kept: {gone} ({numbers}); the nearest later rules stand in"
    if replay.other_zones:
        yield f"decided with other zone data: {', '.join(sorted(replay.other_zones))}"


def _compare(timeline: UserTimeline, recorded: list[Decision]) -> None:
    """Compares with what the topic `decisions` has of the same time."""
    again = {each.id: each for each in timeline.decisions()}
    by_id = {each.id: each for each in recorded if _ms(each) < timeline.end_ms or each.id in again}
    begin_ms = min(map(_ms, by_id.values()), default=timeline.end_ms + 1)
    timeline.compared = len(by_id)
    for decision in by_id.values():
        other = again.get(decision.id)
        if other is None:
            timeline.differs.append(f"recorded, and not recomputed: {_named(decision)}")
        elif other != decision:
            fields = [name for name in Decision.model_fields if getattr(other, name) != getattr(decision, name)]
            timeline.differs.append(f"recomputed with other {', '.join(fields)}: {_named(decision)}")
    for decision in again.values():
        if decision.id not in by_id and _ms(decision) > begin_ms:
            timeline.differs.append(f"recomputed, and not recorded: {_named(decision)}")


def _ms(decision: Decision) -> int:
    return round(decision.decided_at.timestamp() * 1000)


def _named(decision: Decision) -> str:
    return f"{decision.trigger}, {decision.step} at {decision.decided_at:%Y-%m-%d %H:%M:%S} UTC ({decision.id})"
