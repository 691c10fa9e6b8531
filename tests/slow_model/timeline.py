"""The order of things in one partition, from its journal: each user's records, and when timers were looked at.

A record is applied at its append time, or at the clock before it if that is later. Timers due before that instant
are looked at first, with the clock a millisecond before; at a segment's end, if its clock is later than its last
record, those due by then.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from schemas.codec import partition_for


class Wire(NamedTuple):
    """A record as it was read from a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    append_ms: int


class Versions(NamedTuple):
    """Which rules and which switches were in force."""

    manifest: int
    control: int


REMOVED, UNREADABLE, EDITED = "removed", "unreadable", "edited"
"""Replace the topic of a profile without value, which ends the user, and of an unreadable profile, whose body holds
when each purpose was refused; and stand for the moment from which other rules are in force."""


BROADCAST = "broadcast"
"""The topic of an event without a user, told to each user whom it may concern."""


class UserRecord(NamedTuple):
    """One record of a user: its place in the order, the clock, what it says."""

    position: int
    now_ms: int
    versions: Versions
    topic: str
    body: dict[str, Any]


class Look(NamedTuple):
    """One look at the timers."""

    now_ms: int
    versions: Versions


@dataclass
class Timeline:
    """One partition's history. `problems` says where the journal contradicts itself or the inputs."""

    facts: dict[str, list[UserRecord]] = field(default_factory=lambda: defaultdict(list))
    looks: list[Look] = field(default_factory=list)
    look_positions: list[int] = field(default_factory=list)
    letters: list[tuple[str, int, int]] = field(default_factory=list)
    """Topic, partition and offset of each record that cannot be read."""
    problems: list[tuple[str, Any]] = field(default_factory=list)
    records: int = 0
    clock_ms: int = 0

    def __post_init__(self) -> None:
        self._look_times: list[int] = []

    def look(self, position: int, now_ms: int, versions: Versions) -> None:
        self.looks.append(Look(now_ms, versions))
        self.look_positions.append(position)
        self._look_times.append(now_ms)

    def horizon_ms(self, user_id: str) -> int:
        """The last instant at which anything can be decided about a user."""
        return max(last.now_ms for last in [*self.looks[-1:], *self.facts[user_id][-1:]])

    def next_look(self, after_position: int, due_ms: int) -> int | None:
        """The number of the first look after a position that comes at an instant or later."""
        number = max(bisect_left(self.look_positions, after_position + 1), bisect_left(self._look_times, due_ms))
        return number if number < len(self.looks) else None


def ms(instant: str) -> int:
    """RFC 3339 as milliseconds."""
    moment = datetime.fromisoformat(instant)
    return int(moment.timestamp() * 1_000_000 + 0.5) // 1000


def read_timeline(
    partition: int, partitions: int, inputs: Mapping[str, Iterable[Wire]], journal: Iterable[dict[str, Any]]
) -> Timeline:
    """The history of one partition: its inputs by topic, in the order of its journal."""
    return _JournalReader(partition, partitions, inputs).all(journal)


class _JournalReader:
    def __init__(self, partition: int, partitions: int, inputs: Mapping[str, Iterable[Wire]]) -> None:
        self.partition, self.partitions = partition, partitions
        self.left = {topic: {record.offset: record for record in records} for topic, records in inputs.items()}
        self.next_offset = dict.fromkeys(self.left, 0)
        self.later = self._met_later()
        self.found = Timeline()
        self.position = self.number = self.manifest = 0
        self.clock_ms = -1

    def all(self, journal: Iterable[dict[str, Any]]) -> Timeline:
        for entry in journal:
            self.segment(entry)
        for topic, records in self.left.items():
            for offset in records:
                self.found.problems.append(("records not applied", (topic, self.partition, offset)))
        self.found.clock_ms = self.clock_ms
        return self.found

    def segment(self, entry: dict[str, Any]) -> None:
        self.number += 1
        if entry["number"] != self.number:
            self.found.problems.append(("journal number", (self.partition, entry["number"], self.number)))
            self.number = entry["number"]
        versions = Versions(entry["manifest"], entry["control"])
        self.edited(versions)
        for run in entry["applied"]:
            self.run(run, versions)
        clock_ms = ms(entry["clock"])
        if clock_ms > self.clock_ms:
            self.look(clock_ms, versions)
            self.clock_ms = clock_ms
        elif clock_ms < self.clock_ms and clock_ms > 0:
            self.found.problems.append(("clock went back", (self.partition, clock_ms, self.clock_ms)))

    def edited(self, versions: Versions) -> None:
        """Tells every user of other rules, as of the clock before them."""
        if versions.manifest != self.manifest:
            self.manifest = versions.manifest
            self.position += 1
            for facts in self.found.facts.values():
                facts.append(UserRecord(self.position, self.clock_ms, versions, EDITED, {}))

    def run(self, run: dict[str, Any], versions: Versions) -> None:
        topic, first, last = run["topic"], run["first"], run["last"]
        for offset in range(first, min(last + 1, self.next_offset[topic])):
            self.found.problems.append(("records applied twice", (topic, self.partition, offset)))
        self.next_offset[topic] = max(last + 1, self.next_offset[topic])
        for offset in range(first, last + 1):
            record = self.left[topic].pop(offset, None)
            if record is not None:
                self.record(record, versions)

    def look(self, now_ms: int, versions: Versions) -> None:
        self.position += 1
        self.found.look(self.position, now_ms, versions)

    def record(self, record: Wire, versions: Versions) -> None:
        now_ms = max(record.append_ms, self.clock_ms)
        if now_ms > self.clock_ms:
            self.look(now_ms - 1, versions)
            self.clock_ms = now_ms
        self.position += 1
        self.found.records += 1
        if record.topic == "profiles" and self.profile(record, now_ms, versions):
            return
        body = readable(record, self.partitions)
        if body is not None and record.topic == "broadcasts":
            self.broadcast(body, now_ms, versions)
        elif body is None:
            self.found.letters.append((record.topic, record.partition, record.offset))
        elif body["user_id"] is not None:
            fact = UserRecord(self.position, now_ms, versions, record.topic, body)
            self.found.facts[body["user_id"]].append(fact)

    def broadcast(self, body: dict[str, Any], now_ms: int, versions: Versions) -> None:
        """Tells the event to those who are named, or else to those whom no record names, who must not wait for it."""
        told = body.get("users") or self.found.facts.keys() - self.later[body["id"]]
        for user_id in told:
            self.found.facts[user_id].append(UserRecord(self.position, now_ms, versions, BROADCAST, body))

    def _met_later(self) -> Mapping[str, set[str]]:
        """By the id of an event without a user, the users who are named by a record of their own."""
        named: defaultdict[str, set[str]] = defaultdict(set)
        for record in self.left.get("broadcasts", {}).values():
            body = readable(record, self.partitions) or {}
            if body.get("users"):
                named[body["id"]].update(body["users"])
        return named

    def profile(self, record: Wire, now_ms: int, versions: Versions) -> bool:
        """Takes a record that ends its user, and notes a record that has only refusals. Returns whether it ended the
        user."""
        user_id = in_own_partition(record, self.partitions)
        if user_id is None:
            return False
        if record.value is None:
            self.found.facts[user_id].append(UserRecord(self.position, now_ms, versions, REMOVED, {}))
            return True
        if readable(record, self.partitions) is None:
            noes = refused(record.value, now_ms)
            self.found.facts[user_id].append(UserRecord(self.position, now_ms, versions, UNREADABLE, noes))
        return False


def in_own_partition(record: Wire, partitions: int) -> str | None:
    """The user that the record's key names, if the record lies in that user's partition."""
    try:
        user_id = (record.key or b"").decode()
    except UnicodeDecodeError:
        return None
    return user_id if user_id and partition_for(user_id.encode(), partitions) == record.partition else None


def refused(value: bytes, now_ms: int) -> dict[str, int]:
    """By purpose, when it was refused in a profile that cannot be read; now, if that cannot be read either."""
    try:
        consents = orjson.loads(value)["consent"].items()
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        return {}
    noes = {
        purpose: answer for purpose, answer in consents if isinstance(answer, dict) and answer.get("granted") is False
    }
    found = {}
    for purpose, answer in noes.items():
        try:
            found[purpose] = ms(answer["time"])
        except (KeyError, TypeError, ValueError):
            found[purpose] = now_ms
    return found


_NEEDED = {
    "events": ("id", "type", "user_id", "time"),
    "profiles": ("user_id",),
    "outcomes": ("id", "command_id", "user_id", "kind", "time"),
    "broadcasts": ("id", "type", "user_id", "time"),
}


def readable(record: Wire, partitions: int) -> dict[str, Any] | None:
    """What the record says; None if it is not JSON, lacks a field, or lies in a partition that is not its user's."""
    try:
        body = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict) or any(name not in body for name in _NEEDED[record.topic]):
        return None
    if record.topic == "broadcasts":
        return body
    user_id = body["user_id"]
    if user_id is None:
        return body if record.topic == "events" else None
    key = user_id.encode()
    return body if record.key == key and partition_for(key, partitions) == record.partition else None
