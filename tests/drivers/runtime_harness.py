"""Runs workers of `runtime_app` on a real broker, does things to them, and audits what they left.

The audit knows nothing of the runtime but its contract: it replays the inputs in the order that the journal gives,
and compares commands and state byte for byte.
"""

import random
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.runtime_app import POINTS, Counting, Names
from drivers.worker_crew import Workers

from infra.kafka.retry import retry
from infra.kafka.topic_reader import arrived

APP = Path(__file__).with_name("runtime_app.py")
ROOT = APP.parent.parent


def make_topics(kafka: str, names: Names, partitions: int) -> None:
    """The topics of one test."""
    config = {"message.timestamp.type": "LogAppendTime"}
    admin = AdminClient({"bootstrap.servers": kafka})
    wanted = [NewTopic(topic, partitions, 1, config=config) for topic in names.to_make()]
    for made in admin.create_topics(wanted).values():
        made.result(30)


class Feed(threading.Thread):
    """Writes events, and a weight for every tenth, at a rate, from a seed."""

    def __init__(self, kafka: str, names: Names, events: int, per_s: float, seed: int, users: int = 2_000) -> None:
        super().__init__(name="feed", daemon=True)
        self._names, self._events, self._per_s, self._users = names, events, per_s, users
        self._random, self._seed = random.Random(seed), seed
        self._producer = Producer(
            {
                "bootstrap.servers": kafka,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 10,
                "log_level": 0,
                "message.timeout.ms": 120_000,
                "queue.buffering.max.messages": 1_000_000,
            }
        )

    def run(self) -> None:
        began = time.monotonic()
        for number in range(self._events):
            while number > (time.monotonic() - began) * self._per_s:
                self._producer.poll(0.005)
            self._send(number)
        if self._producer.flush(120):
            raise AssertionError("the feed could not write its events")

    def _send(self, number: int) -> None:
        user = f"user-{self._random.randrange(self._users)}"
        kind = self._random.choice(list(POINTS))
        poison = {"poison": True} if number % 5_000 == 4_999 else {}
        if number % 10 == 0:
            weight = self._random.choice([0.5, 1.0, 2.0])
            self._producer.produce(self._names.weights, orjson.dumps({"weight": weight}), user)
        self._producer.produce(
            self._names.events, orjson.dumps({"id": f"{self._seed}.{number}", "type": kind, **poison}), user
        )


class Crew(Workers):
    """Workers of `runtime_app`."""

    def __init__(self, kafka: str, prefix: str, partitions: int, folder: Path, **variables: str) -> None:
        environment = {
            "RUNTIME_KAFKA": kafka,
            "RUNTIME_PREFIX": prefix,
            "RUNTIME_PARTITIONS": str(partitions),
            "RUNTIME_DATA": str(folder / "faust"),
            "PYTHONPATH": f"{ROOT}:{APP.parent}",
            **variables,
        }
        super().__init__(
            folder, lambda _: [sys.executable, str(APP)], lambda slot: {**environment, "RUNTIME_SLOT": str(slot)}
        )


class BrokerReader:
    """Asks the broker, as somebody outside does."""

    def __init__(self, kafka: str, names: Names, partitions: int) -> None:
        self._kafka, self._names, self._partitions = kafka, names, partitions
        self._group = Consumer(
            {"bootstrap.servers": kafka, "group.id": names.app, "enable.auto.commit": False, "log_level": 0}
        )

    def lag(self) -> int | None:
        """Records of the inputs not yet committed by the group; None while the broker does not say."""
        left = 0
        try:
            for topic in (self._names.events, self._names.weights):
                left += sum(self.left(TopicPartition(topic, p)) for p in range(self._partitions))
        except KafkaException:
            return None
        return left

    def left(self, place: TopicPartition) -> int:
        """Records of one partition not yet committed by the group."""
        (answer,) = self._group.committed([TopicPartition(place.topic, place.partition)], 2)
        low, high = self._group.get_watermark_offsets(place, 2)
        return int(high - max(answer.offset, low))

    def size(self, topic: str) -> int:
        """Offsets used, control records and aborted ones too."""
        places = [TopicPartition(topic, p) for p in range(self._partitions)]
        return sum(retry(lambda place=place: self._group.get_watermark_offsets(place, 5)[1]) for place in places)

    def all(self, topic: str, level: str = "read_committed") -> list[Message]:
        """Everything in the topic, in order by partition."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._kafka,
                "group.id": "audit",
                "enable.auto.commit": False,
                "isolation.level": level,
                "enable.partition.eof": True,
            }
        )
        consumer.assign([TopicPartition(topic, p, 0) for p in range(self._partitions)])
        left, found = set(range(self._partitions)), []
        while left:
            for message in arrived(consumer):
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
        consumer.close()
        return sorted(found, key=lambda m: (m.partition(), m.offset()))

    def close(self) -> None:
        self._group.close()


@dataclass
class Audit:
    """What was found wrong, by kind, and what was compared."""

    wrong: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    first: dict[str, Any] = field(default_factory=dict)

    def note(self, kind: str, what: Any) -> None:
        self.wrong[kind] += 1
        self.first.setdefault(kind, what)

    @property
    def clean(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        return f"wrong {dict(self.wrong)} (first: {self.first}) compared {dict(self.compared)}"


def audit(reader: BrokerReader, names: Names, partitions: int) -> Audit:
    """Replays the inputs by the journal, and compares."""
    found = Audit()
    records: dict[tuple[str, int], dict[int, Message]] = defaultdict(dict)
    for topic in (names.events, names.weights):
        for message in reader.all(topic):
            records[topic, message.partition()][message.offset()] = message
    journal: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for message in reader.all(names.journal):
        journal[message.partition()].append(orjson.loads(message.value()))
    wanted: dict[str, bytes] = {}
    letters: Counter[tuple[str, int, int]] = Counter()
    states: dict[str, list[Any]] = {}
    for partition in range(partitions):
        replay = _Replay(found, names, partition, records)
        for entry in journal[partition]:
            replay.segment(entry)
        replay.complete()
        for value in replay.commands:
            wanted[orjson.loads(value)["id"]] = value
        letters.update(replay.letters)
        states.update(replay.job.users)
    _compare_commands(found, wanted, reader.all(names.commands))
    _compare_state(found, states, reader.all(names.changelog))
    written = Counter(
        (body["topic"], m.partition(), body["offset"])
        for m in reader.all(names.letters)
        for body in [orjson.loads(m.value())]
    )
    if written != letters:
        found.note("letters", {"written": written, "wanted": letters})
    found.compared.update(commands=len(wanted), users=len(states), letters=len(letters))
    found.compared["records"] = sum(map(len, records.values()))
    found.compared["checkpoints"] = sum(map(len, journal.values()))
    return found


class _Replay:
    """One partition, replayed only from its journal."""

    def __init__(self, found: Audit, names: Names, partition: int, records: dict[Any, dict[int, Message]]) -> None:
        self.found, self.names, self.partition = found, names, partition
        self.records = {topic: records[topic, partition] for topic in (names.events, names.weights)}
        self.left = {topic: sorted(of) for topic, of in self.records.items()}
        self.at = dict.fromkeys(self.records, 0)
        self.job = Counting({})
        self.commands: list[bytes] = []
        self.letters: Counter[tuple[str, int, int]] = Counter()
        self.clock_ms, self.number, self.append_ms = -1, 0, -1

    def segment(self, entry: dict[str, Any]) -> None:
        self.number += 1
        if entry["number"] != self.number:
            self.found.note("journal_number", (self.partition, entry["number"], self.number))
            self.number = entry["number"]
        for run in entry["applied"]:
            for offset in range(run["first"], run["last"] + 1):
                record = self.records[run["topic"]].get(offset)
                if record is not None:
                    self._record(run["topic"], offset, record)
        clock_ms = _ms(entry["clock"])
        if clock_ms > self.clock_ms:
            self._fire(clock_ms)
            self.clock_ms = clock_ms
        elif clock_ms < self.clock_ms and (entry["applied"] or clock_ms > 0):
            self.found.note("clock_back", (self.partition, clock_ms, self.clock_ms))

    def _record(self, topic: str, offset: int, record: Message) -> None:
        at = self.at[topic]
        if at >= len(self.left[topic]) or self.left[topic][at] != offset:
            self.found.note("order_of_offsets", (topic, self.partition, offset))
        else:
            self.at[topic] = at + 1
        append_ms = record.timestamp()[1]
        if append_ms < self.append_ms:
            self.found.note("order_of_append_times", (topic, self.partition, offset))
        self.append_ms = append_ms
        now_ms = max(append_ms, self.clock_ms)
        if now_ms > self.clock_ms:
            self._fire(now_ms - 1)
            self.clock_ms = now_ms
        try:
            weights = topic == self.names.weights
            self.commands += self.job.apply(weights, record.key().decode(), record.value(), now_ms)
        except ValueError:
            self.letters[topic, self.partition, offset] += 1

    def _fire(self, now_ms: int) -> None:
        self.commands += [value for _, value in self.job.fire(now_ms)]

    def complete(self) -> None:
        for topic, at in self.at.items():
            for offset in self.left[topic][at:]:
                self.found.note("not_applied", (topic, self.partition, offset))


def _ms(instant: str) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def _compare_commands(found: Audit, wanted: dict[str, bytes], written: list[Message]) -> None:
    got: dict[str, list[bytes]] = defaultdict(list)
    for message in written:
        got[orjson.loads(message.value())["id"]].append(message.value())
    for name, value in wanted.items():
        if name not in got:
            found.note("lost", name)
        elif any(other != value for other in got[name]):
            found.note("different", (value, got[name]))
    for name, values in got.items():
        if len(values) > 1:
            found.note("twice", name)
        if name not in wanted:
            found.note("unknown", values[0])


def _compare_state(found: Audit, states: dict[str, list[Any]], changelog: list[Message]) -> None:
    kept = {message.key().decode(): orjson.loads(message.value()) for message in changelog}
    for user, state in states.items():
        if kept.get(user) != state:
            found.note("state", (user, kept.get(user), state))
