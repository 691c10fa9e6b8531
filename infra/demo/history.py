"""What the stream worker says it did, held against its inputs: nothing lost, nothing doubled, also across a kill.

The journal names each record that was applied, in order. So the books can ask whether it names every record of the
inputs once, and have the core decide again by it: the same records in the same order give the same decisions and
commands, byte for byte.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from infra.demo.books import Check
from infra.kafka import read_all
from schemas.codec import decode
from schemas.journal import Applied, Checkpoint
from schemas.topics import COMMANDS, DECISIONS, JOURNAL
from streams.evaluate import Decider, Record, Step
from streams.timers import TimerIndex
from triggers.evaluator import Evaluator
from triggers.ruleset import RuleSet

Place = tuple[str, int]


class Appended(NamedTuple):
    """An input record as the broker keeps it."""

    key: bytes | None
    value: bytes | None
    appended_ms: int


@dataclass(slots=True)
class History:
    """Read back: the journal by partition, each input's records by offset, and what was written by topic."""

    journal: dict[int, list[Checkpoint]] = field(default_factory=dict)
    inputs: dict[Place, dict[int, Appended]] = field(default_factory=dict)
    written: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    checkpointed_s: list[float] = field(default_factory=list)

    def first_checkpoint_after(self, moment_s: float) -> float:
        """How many seconds after that moment, in seconds since the epoch, the next checkpoint was written."""
        return min(at for at in self.checkpointed_s if at > moment_s) - moment_s


def read_history(kafka: str, inputs: Iterable[str]) -> History:
    """All of it, as a read_committed reader sees it."""
    history = History()
    for topic in inputs:
        for message in read_all(kafka, topic):
            place, offset = (topic, message.partition() or 0), message.offset() or 0
            record = Appended(message.key(), message.value(), message.timestamp()[1])
            history.inputs.setdefault(place, {})[offset] = record
    for message in read_all(kafka, JOURNAL.name):
        history.journal.setdefault(message.partition() or 0, []).append(decode(Checkpoint, message.value()))
        history.checkpointed_s.append(message.timestamp()[1] / 1000)
    for topic in (DECISIONS.name, COMMANDS.name):
        history.written.update((topic, message.value() or b"") for message in read_all(kafka, topic))
    return history


def hold_against(history: History, rules: RuleSet) -> list[Check]:
    """Each equation between journal, inputs and what was written."""
    breaks = sum(_breaks(checkpoints) for checkpoints in history.journal.values())
    lost, doubled = coverage(history)
    records = sum(map(len, history.inputs.values()))
    again = decide_again(history, rules)
    missing, more = (again - history.written).total(), (history.written - again).total()
    return [
        Check("the journal has no gap and no repeat", not breaks, f"{breaks} breaks"),
        Check(
            "each input record was applied once",
            not lost and not doubled,
            f"{records:,} records, {lost:,} lost, {doubled:,} doubled",
        ),
        Check(
            "decided again by the journal, the same decisions and commands",
            not missing and not more,
            f"{again.total():,}, {missing:,} lost, {more:,} doubled or other",
        ),
    ]


def _breaks(checkpoints: Sequence[Checkpoint]) -> int:
    return sum(checkpoint.number != wanted for wanted, checkpoint in enumerate(checkpoints, 1))


def coverage(history: History) -> tuple[int, int]:
    """How many input records the journal leaves out, and how many it names again."""
    spans: dict[Place, list[Applied]] = {}
    for checkpoints in history.journal.values():
        for checkpoint in checkpoints:
            for span in checkpoint.applied:
                spans.setdefault((span.topic, span.partition), []).append(span)
    counted = [_covered(list(records), spans.get(place, [])) for place, records in history.inputs.items()]
    return sum(lost for lost, _ in counted), sum(doubled for _, doubled in counted)


def _covered(offsets: Sequence[int], spans: Iterable[Applied]) -> tuple[int, int]:
    """Of rising offsets: how many the spans skip, and how many they name again."""
    at = lost = doubled = 0
    for span in spans:
        begin, end = bisect_left(offsets, span.first), bisect_right(offsets, span.last)
        lost += max(0, begin - at)
        doubled += max(0, min(at, end) - begin)
        at = max(at, end)
    return lost + len(offsets) - at, doubled


def decide_again(history: History, rules: RuleSet) -> Counter[tuple[str, bytes]]:
    """Every decision and command that the core gives by the journal, under one set of rules and no switch."""
    partitions = 1 + max((partition for _, partition in history.inputs), default=0)
    again: Counter[tuple[str, bytes]] = Counter()
    for partition, checkpoints in history.journal.items():
        replay = _Replay(Decider(Evaluator(rules), partitions))
        for checkpoint in checkpoints:
            replay.follow(checkpoint, {topic: of for (topic, p), of in history.inputs.items() if p == partition})
        again.update(replay.written)
    return again


class _Replay:
    """One partition: user states, their timers and the clock, as the stream worker keeps them."""

    def __init__(self, decider: Decider) -> None:
        self.written: Counter[tuple[str, bytes]] = Counter()
        self._decider = decider
        self._states: dict[bytes, bytes] = {}
        self._timers = TimerIndex()
        self._clock_ms = 0

    def follow(self, checkpoint: Checkpoint, records: Mapping[str, Mapping[int, Appended]]) -> None:
        """The checkpoint's records in order, each at its append time, timers due before it first; then its clock."""
        for span in checkpoint.applied:
            of_topic = records[span.topic]
            for offset in range(span.first, span.last + 1):
                if (record := of_topic.get(offset)) is not None:
                    self._apply(record, span, offset)
        clock_ms = round(checkpoint.clock.timestamp() * 1000)
        if clock_ms > self._clock_ms:
            self._fire(clock_ms)
            self._clock_ms = clock_ms

    def _apply(self, record: Appended, span: Applied, offset: int) -> None:
        at_ms = max(record.appended_ms, self._clock_ms)
        if at_ms > self._clock_ms:
            self._fire(at_ms - 1)
            self._clock_ms = at_ms
        read = Record(span.topic, span.partition, offset, record.key, record.value)
        self._keep(self._decider.apply(read, self._states.get(record.key or b""), at_ms))

    def _fire(self, now_ms: int) -> None:
        while (key := self._timers.pop_due(now_ms)) is not None:
            self._keep(self._decider.fire_due(key.decode(), self._states[key], now_ms))

    def _keep(self, step: Step) -> None:
        if step.user_id is not None and step.state is not None:
            key = step.user_id.encode()
            self._states[key] = step.state
            self._timers.set(key, step.next_due_ms)
        wanted = (DECISIONS.name, COMMANDS.name)
        self.written.update((out.topic, out.value) for out in step.outgoing if out.topic in wanted)
