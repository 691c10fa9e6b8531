"""What the stream worker says it did, held against its inputs: nothing lost, nothing doubled, also across a kill.

The journal names each record that was applied, in order. So the books can ask whether it names every record of the
inputs once, and have the core decide again by it: the same records in the same order give the same decisions and
commands, byte for byte.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cli.demo.books import Check
from infra.kafka.topic_reader import read_all
from schemas import zones
from schemas.codec import decode
from schemas.journal import AppliedRange, Checkpoint
from schemas.topics import COMMANDS, DECISIONS, JOURNAL
from streams.decisions.evaluate import Decider
from streams.decisions.replay import Appended, Replay
from triggers.engine.evaluator import Evaluator
from triggers.rules.ruleset import RuleSet

Place = tuple[str, int]


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
    others = sorted({c.zones for each in history.journal.values() for c in each} - {"", zones.VERSION})
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
            f"{again.total():,}, {missing:,} lost, {more:,} doubled or other"
            + (f"; decided with zone data {', '.join(others)}, again with {zones.VERSION}" if others else ""),
        ),
    ]


def _breaks(checkpoints: Sequence[Checkpoint]) -> int:
    return sum(checkpoint.number != wanted for wanted, checkpoint in enumerate(checkpoints, 1))


def coverage(history: History) -> tuple[int, int]:
    """How many input records the journal leaves out, and how many it names again."""
    spans: dict[Place, list[AppliedRange]] = {}
    for checkpoints in history.journal.values():
        for checkpoint in checkpoints:
            for span in checkpoint.applied:
                spans.setdefault((span.topic, span.partition), []).append(span)
    counted = [_covered(list(records), spans.get(place, [])) for place, records in history.inputs.items()]
    return sum(lost for lost, _ in counted), sum(doubled for _, doubled in counted)


def _covered(offsets: Sequence[int], spans: Iterable[AppliedRange]) -> tuple[int, int]:
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
    decider, again = Decider(Evaluator(rules)), Counter[tuple[str, bytes]]()
    for partition, checkpoints in history.journal.items():
        inputs = {topic: records for (topic, p), records in history.inputs.items() if p == partition}
        replay = Replay(partition, partitions, inputs)
        for checkpoint in checkpoints:
            replay.follow(checkpoint, decider)
        wanted = (DECISIONS.name, COMMANDS.name)
        again.update((out.topic, out.value or b"") for out in replay.written if out.topic in wanted)
    return again
