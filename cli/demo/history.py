"""Compares the journal with the inputs and the outputs: nothing is lost or duplicated, even across a kill.

The journal names each applied record, in order. It must name every input record once. A replay of the same records in
the same order must give the same decisions and commands, byte for byte.
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


@dataclass(slots=True)
class History:
    """The journal by partition, the records of each (topic, partition) by offset, and what was written by topic."""

    journal: dict[int, list[Checkpoint]] = field(default_factory=dict)
    inputs: dict[tuple[str, int], dict[int, Appended]] = field(default_factory=dict)
    written: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    checkpointed_s: list[float] = field(default_factory=list)

    def first_checkpoint_after(self, moment_s: float) -> float:
        """The seconds from `moment_s` (since the epoch) to the next checkpoint."""
        return min(at for at in self.checkpointed_s if at > moment_s) - moment_s


def read_history(kafka: str, inputs: Iterable[str]) -> History:
    """Reads all of it with read_committed."""
    history = History()
    for topic in inputs:
        for message in read_all(kafka, topic):
            partition, offset = (topic, message.partition() or 0), message.offset() or 0
            record = Appended(message.key(), message.value(), message.timestamp()[1])
            history.inputs.setdefault(partition, {})[offset] = record
    for message in read_all(kafka, JOURNAL.name):
        history.journal.setdefault(message.partition() or 0, []).append(decode(Checkpoint, message.value()))
        history.checkpointed_s.append(message.timestamp()[1] / 1000)
    for topic in (DECISIONS.name, COMMANDS.name):
        history.written.update((topic, message.value() or b"") for message in read_all(kafka, topic))
    return history


def check_history(history: History, rules: RuleSet) -> list[Check]:
    """Checks the journal against the inputs and what was written."""
    breaks = sum(_breaks(checkpoints) for checkpoints in history.journal.values())
    lost, duplicated = coverage(history)
    records = sum(map(len, history.inputs.values()))
    again = replay_journal(history, rules)
    others = sorted({c.zones for each in history.journal.values() for c in each} - {"", zones.VERSION})
    missing, more = (again - history.written).total(), (history.written - again).total()
    return [
        Check("the journal has no gap and no repeat", not breaks, f"{breaks} breaks"),
        Check(
            "each input record was applied once",
            not lost and not duplicated,
            f"{records:,} records, {lost:,} lost, {duplicated:,} duplicated",
        ),
        Check(
            "a replay of the journal gives the same decisions and commands",
            not missing and not more,
            f"{again.total():,}, {missing:,} missing, {more:,} extra"
            + (f"; decided with zone data {', '.join(others)}, replayed with {zones.VERSION}" if others else ""),
        ),
    ]


def _breaks(checkpoints: Sequence[Checkpoint]) -> int:
    return sum(checkpoint.number != wanted for wanted, checkpoint in enumerate(checkpoints, 1))


def coverage(history: History) -> tuple[int, int]:
    """How many input records the journal leaves out, and how many it names twice."""
    ranges: dict[tuple[str, int], list[AppliedRange]] = {}
    for checkpoints in history.journal.values():
        for checkpoint in checkpoints:
            for applied in checkpoint.applied:
                ranges.setdefault((applied.topic, applied.partition), []).append(applied)
    counted = [_covered(list(records), ranges.get(each, [])) for each, records in history.inputs.items()]
    return sum(lost for lost, _ in counted), sum(duplicated for _, duplicated in counted)


def _covered(offsets: Sequence[int], ranges: Iterable[AppliedRange]) -> tuple[int, int]:
    """How many of the rising offsets the ranges skip, and how many they name twice."""
    at = lost = duplicated = 0
    for applied in ranges:
        begin, end = bisect_left(offsets, applied.first), bisect_right(offsets, applied.last)
        lost += max(0, begin - at)
        duplicated += max(0, min(at, end) - begin)
        at = max(at, end)
    return lost + len(offsets) - at, duplicated


def replay_journal(history: History, rules: RuleSet) -> Counter[tuple[str, bytes]]:
    """Replays the journal: every decision and command of the core, under one set of rules and without switches."""
    partitions = 1 + max((partition for _, partition in history.inputs), default=0)
    decider, again = Decider(Evaluator(rules)), Counter[tuple[str, bytes]]()
    for partition, checkpoints in history.journal.items():
        inputs = {topic: records for (topic, p), records in history.inputs.items() if p == partition}
        replay = Replay(partition, partitions, inputs)
        for checkpoint in checkpoints:
            replay.apply(checkpoint, decider)
        wanted = (DECISIONS.name, COMMANDS.name)
        again.update((out.topic, out.value or b"") for out in replay.written if out.topic in wanted)
    return again
