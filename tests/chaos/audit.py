"""The verdict of a chaos run: what was written against the slow model, the core over the journal, and plain counting.

Works on what a read_committed reader finds on the topics, one partition at a time.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from slow_model.compare import COMMAND, DECISION, Comparison, PlainCap, caps_exceeded, compare
from slow_model.documents import read_book
from slow_model.past import NEVER_ACCEPTED
from slow_model.rulebook import Book
from slow_model.timeline import REMOVED, Timeline, Versions, Wire, read_timeline
from slow_model.user import SlowUser

from schemas.codec import decode
from schemas.endpoints import WEBHOOK
from schemas.journal import Checkpoint
from schemas.topics import (
    BROADCASTS,
    COMMANDS,
    CONTROL,
    DEAD_LETTERS,
    DECISIONS,
    EVENTS,
    JOURNAL,
    OUTCOMES,
    PROFILES,
    RULES,
)
from streams.decisions.evaluate import Decider
from streams.decisions.replay import Appended, Replay
from streams.decisions.rulefeed import RuleStore
from triggers.engine.evaluator import Evaluator

INPUTS = (PROFILES.name, OUTCOMES.name, EVENTS.name, BROADCASTS.name)
KEYED = (*INPUTS, JOURNAL.name, COMMANDS.name, DECISIONS.name, DEAD_LETTERS.name)
CHANGELOG = "user-state-changelog"


class Shelves:
    """All rules and switches that were ever published, by version: as the model reads them, and as the core does."""

    def __init__(self, rules: Sequence[Wire], controls: Sequence[Wire]) -> None:
        self._rules, self._controls = rules, controls
        texts = [(record.key.decode(), orjson.loads(record.value)) for record in rules if record.key and record.value]
        self._texts = {key.removeprefix("text/"): body for key, body in texts if key != "current"}
        self._manifests = {body["number"]: body["texts"] for key, body in texts if key == "current"}
        self._switches = [orjson.loads(record.value) for record in controls if record.value]
        self._books: dict[int, Book] = {}
        self._deciders: dict[Versions, Decider] = {}

    def book(self, versions: Versions) -> tuple[Book, frozenset[str]]:
        """The model's rules and the scopes that are paused."""
        number = versions.manifest
        if number not in self._books:
            book = read_book((digest, self._texts[digest]) for digest in self._manifests[number])
            before = [each for each in sorted(self._manifests) if each < number]
            self._books[number] = replace(book, earlier=tuple(self.book(Versions(each, 0))[0] for each in before))
        return self._books[number], self._paused(versions.control)

    def _paused(self, number: int) -> frozenset[str]:
        last = {switch["scope"]: switch["paused"] for switch in self._switches if switch["number"] <= number}
        return frozenset(scope for scope, paused in last.items() if paused)

    def decider(self, versions: Versions) -> Decider:
        """The core under the same rules and switches."""
        if versions not in self._deciders:
            shelf = RuleStore()
            for topic, records in ((RULES.name, self._rules), (CONTROL.name, self._controls)):
                for record in records:
                    body = orjson.loads(record.value or b"{}")
                    limit = versions.manifest if topic == RULES.name else versions.control
                    if body.get("number", 0) <= limit:
                        shelf.put(topic, (record.key or b"").decode(), record.value)
            published = shelf.load()
            assert published is not None, f"no set of rules {versions}"
            self._deciders[versions] = Decider(Evaluator(published.rules, paused=published.paused))
        return self._deciders[versions]


@dataclass
class PartitionRecords:
    """What one partition number holds, by topic, in order."""

    number: int
    partitions: int
    records: Mapping[str, list[Wire]]
    states: Mapping[str, Mapping[bytes, bytes]] = field(default_factory=dict)
    """What a recovery would load, by the way that it takes."""

    @property
    def inputs(self) -> dict[str, list[Wire]]:
        return {topic: self.records.get(topic, []) for topic in INPUTS}

    @property
    def journal(self) -> list[dict[str, Any]]:
        return [orjson.loads(record.value or b"") for record in self.records[JOURNAL.name]]

    def written(self, topic: str) -> list[dict[str, Any]]:
        return [orjson.loads(record.value or b"") for record in self.records.get(topic, [])]


def audit_partition(
    partition: PartitionRecords, shelves: Shelves, caps: list[PlainCap], settled_ms: int = 0
) -> Comparison:
    """All comparisons of one partition. `settled_ms`: up to when every timer must have fired."""
    found = Comparison()
    timeline = read_timeline(partition.number, partition.partitions, partition.inputs, partition.journal)
    for kind, what in timeline.problems:
        found.note(kind, what)
    found.compared.update(records=timeline.records, users=len(timeline.facts), checkpoints=len(partition.journal))
    _slow_model(found, partition, timeline, shelves, settled_ms)
    _core(found, partition, shelves)
    _letters(found, partition, timeline)
    given_back = {o["command_id"] for o in _json(partition.records.get(OUTCOMES.name, [])) if _gives_back(o)}
    removed = {user_id for user_id, facts in timeline.facts.items() if any(fact.topic == REMOVED for fact in facts)}
    remembered = [each for each in partition.written(COMMANDS.name) if each["user_id"] not in removed]
    caps_exceeded(found, remembered, given_back, caps)  # a tombstone makes caps begin anew
    return found


def _gives_back(outcome: dict[str, Any]) -> bool:
    return outcome.get("kind") in NEVER_ACCEPTED


def _json(records: Iterable[Wire]) -> Iterable[dict[str, Any]]:
    return (orjson.loads(record.value) for record in records if record.value)


def _slow_model(
    found: Comparison, partition: PartitionRecords, timeline: Timeline, shelves: Shelves, settled_ms: int
) -> None:
    decisions, commands = [], []
    for user_id in timeline.facts:
        wanted = SlowUser(user_id, timeline, shelves.book).decide()
        decisions += wanted.decisions
        commands += wanted.commands
        if wanted.next_due_ms is not None and wanted.next_due_ms < settled_ms:
            found.note("timers overdue", {"user_id": user_id, "due_ms": wanted.next_due_ms})
    compare(found, "decisions", decisions, partition.written(DECISIONS.name), DECISION)
    compare(found, "commands", commands, partition.written(COMMANDS.name), COMMAND)
    found.compared.update(f"{d['outcome']} {d['reason'] or ''}".strip() for d in decisions)
    for what in ("brand", "budgets"):
        found.compared[f"commands with {what}"] += sum(bool(command[what]) for command in commands)
    found.compared["webhooks"] += sum(command["channel"] == WEBHOOK for command in commands)


def _core(found: Comparison, partition: PartitionRecords, shelves: Shelves) -> None:
    """The journal replayed by the core: the same bytes, and the same state."""
    inputs = {
        topic: {record.offset: Appended(record.key, record.value, record.append_ms) for record in records}
        for topic, records in partition.inputs.items()
    }
    replay = Replay(partition.number, partition.partitions, inputs)
    for record in partition.records[JOURNAL.name]:
        checkpoint = decode(Checkpoint, record.value)
        replay.apply(checkpoint, shelves.decider(Versions(checkpoint.manifest, checkpoint.control)))
    wanted: defaultdict[str, Counter[bytes]] = defaultdict(Counter)
    for outgoing in replay.written:
        wanted[outgoing.topic][outgoing.value] += 1
    for topic in (DECISIONS.name, COMMANDS.name, DEAD_LETTERS.name):
        written = Counter(record.value or b"" for record in partition.records.get(topic, []))
        for value in (wanted[topic] - written) + (written - wanted[topic]):
            found.note(f"{topic} unlike the replay", value)
        found.compared[f"{topic} replayed"] += sum(wanted[topic].values())
    for way, recovered in partition.states.items():
        compare_states(found, way, replay.states, recovered)


def compare_states(found: Comparison, way: str, live: Mapping[bytes, bytes], recovered: Mapping[bytes, bytes]) -> None:
    """The state that a recovery would load, against that of a process that nothing happened to: byte for byte."""
    for key in live.keys() | recovered.keys():
        if live.get(key) != recovered.get(key):
            found.note(f"states by {way} different", {"key": key, "live": live.get(key), "found": recovered.get(key)})
    found.compared[f"states by {way}"] += len(live)


def _letters(found: Comparison, partition: PartitionRecords, timeline: Timeline) -> None:
    """One letter for each record that cannot be read, and none for another; what a rule could not read is counted."""
    letters = [letter for letter in partition.written(DEAD_LETTERS.name) if letter["cause"] != "rule_error"]
    written = Counter((letter["topic"], letter["partition"], letter["offset"]) for letter in letters)
    for place, times in (Counter(timeline.letters) - written).items():
        found.note("dead letters lost", (place, times))
    for place, times in (written - Counter(timeline.letters)).items():
        found.note("dead letters too many", (place, times))
    found.compared["dead letters"] += len(timeline.letters)
