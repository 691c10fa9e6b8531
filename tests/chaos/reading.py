"""What lies on the topics of a run, read by partition; and the audit of all partitions, in processes of their own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import orjson
from chaos.audit import KEYED, PartitionRecords, Shelves, audit_partition
from chaos.rules import CAPS
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from slow_model.compare import Comparison
from slow_model.timeline import Wire

from infra.kafka.topic_reader import arrived, reader_config
from schemas.topics import COMMANDS, CONTROL, DECISIONS, RULES
from streams.runtime import snapshot


@dataclass(frozen=True)
class WrittenTopics:
    """Where everything is."""

    kafka: str
    partitions: int
    changelog: str
    snapshots: Path
    settled_ms: int
    """Up to when every timer must have fired."""
    stopping_ms: int
    """When the workers were asked to stop."""


def read(kafka: str, topics: Sequence[str], partition: int, level: str = "read_committed") -> dict[str, list[Wire]]:
    """Every record of one partition number of some topics, in order."""
    consumer = Consumer(reader_config(kafka, "chaos-audit") | {"isolation.level": level})
    consumer.assign([TopicPartition(topic, partition, 0) for topic in topics])
    left, found = set(topics), {topic: list[Wire]() for topic in topics}
    while left:
        for message in arrived(consumer):
            topic, error = message.topic() or "", message.error()
            if error is None:
                wire = Wire(
                    topic, partition, message.offset() or 0, message.key(), message.value(), message.timestamp()[1]
                )
                found[topic].append(wire)
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(topic)
            else:
                raise KafkaException(error)
    consumer.close()
    return found


def aborted(written: WrittenTopics) -> int:
    """Commands and decisions that lie in aborted transactions: read_committed readers never see them."""
    count = 0
    topics = (COMMANDS.name, DECISIONS.name)
    for partition in range(written.partitions):
        for sign, level in ((1, "read_uncommitted"), (-1, "read_committed")):
            count += sign * sum(map(len, read(written.kafka, topics, partition, level).values()))
    return count


def _audit(job: tuple[WrittenTopics, int]) -> tuple[Comparison, list[bytes]]:
    written, number = job
    shelves = Shelves(*(read(written.kafka, [topic.name], 0).get(topic.name, []) for topic in (RULES, CONTROL)))
    records = read(written.kafka, [*KEYED, written.changelog], number)
    changelog = records.pop(written.changelog, [])
    states = {"changelog": _last_words(changelog), **_by_snapshot(written, number, changelog)}
    partition = PartitionRecords(number, written.partitions, records, states)
    found = audit_partition(partition, shelves, CAPS, written.settled_ms)
    return found, [record.value or b"" for record in records.get(COMMANDS.name, [])]


def _last_words(changelog: Iterable[Wire], first: Mapping[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    state = dict(first or {})
    for record in changelog:
        if record.value is None:
            state.pop(record.key or b"", None)
        else:
            state[record.key or b""] = record.value
    return state


def _by_snapshot(written: WrittenTopics, number: int, changelog: list[Wire]) -> dict[str, dict[bytes, bytes]]:
    """The state by the partition's snapshot, completed by the changelog. A snapshot that was written at the stop
    is also taken as it is: it shows the state of a live worker."""
    found = {}
    for path in written.snapshots.rglob(f"{written.changelog}/{number}.snapshot"):
        data = path.read_bytes()
        at = len(snapshot.MAGIC) + snapshot.NUMBER.size
        (size,) = snapshot.NUMBER.unpack_from(data, len(snapshot.MAGIC))
        origin = snapshot.Origin(**orjson.loads(data[at : at + size])["origin"])
        kept = snapshot.read(path, origin)
        rest = [record for record in changelog if record.offset >= kept.offset]
        found["snapshot and changelog"] = _last_words(rest, kept.entries)
        if kept.requested_s * 1000 >= written.stopping_ms:
            found["snapshot of the stop"] = kept.entries
    return found


def audit(written: WrittenTopics, processes: int = 2) -> tuple[Comparison, list[bytes]]:
    """What all partitions together show, and every command."""
    found, commands = Comparison(), []
    with get_context("spawn").Pool(processes) as pool:
        for each, sent in pool.imap_unordered(_audit, [(written, number) for number in range(written.partitions)]):
            found.merge(each)
            commands += sent
    return found, commands
