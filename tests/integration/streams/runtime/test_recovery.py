"""Recovery of a changelog as its owners leave it: transactions committed and aborted, snapshots between, compaction.

However it is recovered, the state is that of the committed transactions alone.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.busy_cleaner import busy_cleaner
from drivers.limits import HANGS_AFTER_S
from drivers.real_servers import RealServers
from structlog.testing import capture_logs

from infra.kafka.connection import Connection
from infra.kafka.offsets import EndOffsets
from infra.kafka.topics import TopicPartition, describe
from streams.runtime import recovery
from streams.runtime.recovery import ChangelogReader, Entries, NewerAssignment
from streams.runtime.snapshot import Origin, Snapshot, SnapshotFolder, read

pytestmark = pytest.mark.servers

PARTITIONS = 3
APP = "app"
States = dict[int, Entries]
Changes = list[tuple[int, bytes, bytes | None]]


class Changelog:
    """A changelog under an owner's hands, and beside it the state that its committed transactions make."""

    def __init__(self, kafka: str, admin: AdminClient, topic: str, folder: Path, **settings: str) -> None:
        self.kafka, self.admin, self.topic = kafka, admin, topic
        self.ends = EndOffsets(self.admin)
        self.folder = SnapshotFolder(folder, "0")
        self.settings = {"cleanup.policy": "compact", **settings}
        self.make()
        self.owner = self.producer("owner")

    def make(self) -> None:
        self.states: States = {p: {} for p in range(PARTITIONS)}
        self.written = 0
        self.admin.create_topics([NewTopic(self.topic, PARTITIONS, 1, config=self.settings)])[self.topic].result(30)
        self.topic_id = describe(self.admin, self.topic, lambda: True).id

    def producer(self, name: str) -> Producer:
        producer = Producer({"bootstrap.servers": self.kafka, "transactional.id": f"{self.topic}-{name}"})
        producer.init_transactions(30)
        return producer

    def begin(self, producer: Producer, changes: Changes) -> None:
        producer.begin_transaction()
        for partition, key, value in changes:
            producer.produce(self.topic, value, key, partition=partition)
        producer.flush()
        self.written += len(changes)

    def commit(self, changes: Changes) -> None:
        self.begin(self.owner, changes)
        self.finish(changes)

    def finish(self, changes: Changes) -> None:
        self.owner.commit_transaction(30)
        for partition, key, value in changes:
            if value is None:
                self.states[partition].pop(key, None)
            else:
                self.states[partition][key] = value

    def abort(self, changes: Changes) -> None:
        self.begin(self.owner, changes)
        self.owner.abort_transaction(30)

    def stable_ends(self) -> dict[TopicPartition, int]:
        return self.ends.last_stable([TopicPartition(self.topic, p) for p in range(PARTITIONS)])

    def origin(self, partition: int) -> Origin:
        return Origin(APP, self.topic, self.topic_id, PARTITIONS, partition)

    def save(self, offsets: dict[TopicPartition, int]) -> None:
        """Snapshots as they are at rest, with offsets that were requested before."""
        for partition, entries in self.states.items():
            snapshot = Snapshot(dict(entries), offsets[TopicPartition(self.topic, partition)], time.time())
            assert self.folder.save(self.origin(partition), snapshot, lambda: True)

    def recover(self, folder: SnapshotFolder | None) -> tuple[States, dict[str, object]]:
        """The state, and what the log says about how it came."""
        reader = ChangelogReader(Connection(self.kafka), APP, self.admin, self.ends, folder)
        with capture_logs() as lines:
            found = reader.read(self.topic, range(PARTITIONS), lambda: True)
        reader.close()
        event = next(line for line in lines if line["event"] == "recovered")
        event["unused"] = sum(line["event"] == "snapshot_unused" for line in lines)
        event["off"] = sum(line["event"] == "snapshots_off" for line in lines)
        return {partition: recovered.entries for partition, recovered in found.items()}, dict(event)

    def offsets(self, partition: int) -> set[int]:
        """The offsets at which there is still a record."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": "look",
                "enable.partition.eof": True,
                "isolation.level": "read_uncommitted",
            }
        )
        consumer.assign([confluent_kafka.TopicPartition(self.topic, partition, 0)])
        found: set[int] = set()
        while True:
            for message in consumer.consume(10_000, 1.0):
                error = message.error()
                if error is None:
                    found.add(message.offset() or 0)
                elif error.code() == KafkaError._PARTITION_EOF:
                    consumer.close()
                    return found


@contextmanager
def new_changelog(kafka: str, prefix: str, folder: Path, **settings: str) -> Iterator[Changelog]:
    with AdminClient({"bootstrap.servers": kafka}) as admin:
        made = Changelog(kafka, admin, f"{prefix}changelog", folder, **settings)
        yield made
        made.owner.close()


@pytest.fixture
def changelog(servers: RealServers, topic_prefix: str, tmp_path: Path) -> Iterator[Changelog]:
    with new_changelog(servers.kafka, topic_prefix, tmp_path) as made:
        yield made


def some(chance: random.Random, count: int) -> Changes:
    return [
        (
            chance.randrange(PARTITIONS),
            b"user-%d" % chance.randrange(40),
            None if chance.random() < 0.3 else b"%d" % chance.randrange(10**9),
        )
        for _ in range(count)
    ]


def test_a_snapshot_and_the_rest_are_the_changelog_whatever_was_committed_and_aborted(changelog: Changelog) -> None:
    """Offsets are requested with transactions open, the owner's own and one that a predecessor left behind."""
    chance, zombie = random.Random(7), changelog.producer("zombie")
    for _ in range(4):
        changelog.begin(zombie, some(chance, 5))
        for _ in range(4):
            changelog.commit(some(chance, 12))
            open_changes = some(chance, 6)
            changelog.begin(changelog.owner, open_changes)
            offsets = changelog.stable_ends()
            changelog.finish(open_changes)
            changelog.abort(some(chance, 6))
            changelog.commit(some(chance, 12))
            if chance.random() < 0.7:
                changelog.save(offsets)
            if chance.random() < 0.3:
                zombie.abort_transaction(30)
                changelog.begin(zombie, some(chance, 5))
        zombie.abort_transaction(30)
        whole, said_whole = changelog.recover(None)
        partly, said_partly = changelog.recover(changelog.folder)
        assert whole == partly == changelog.states
        assert said_whole["snapshots"] == 0
        assert said_partly["snapshots"] == PARTITIONS
        read_whole, read_partly = said_whole["records"], said_partly["records"]
    assert isinstance(read_whole, int)
    assert isinstance(read_partly, int)
    assert 0 < read_partly < read_whole / 2


def test_a_changelog_with_nothing_after_its_snapshots_is_not_read(changelog: Changelog) -> None:
    changelog.commit(some(random.Random(1), 50))

    def is_decided() -> bool:
        stable = changelog.stable_ends()
        return stable == changelog.ends.high_watermarks(stable, lambda: True)

    _until(is_decided, "the transaction's markers are written")
    changelog.save(changelog.stable_ends())
    found, event = changelog.recover(changelog.folder)
    assert found == changelog.states
    assert event["records"] == 0


def test_a_damaged_snapshot_costs_one_partition_its_whole_changelog(changelog: Changelog) -> None:
    changelog.commit(some(random.Random(1), 50))
    changelog.save(changelog.stable_ends())
    path = changelog.folder.path(changelog.origin(1))
    path.write_bytes(path.read_bytes()[:-1])
    found, event = changelog.recover(changelog.folder)
    assert found == changelog.states
    assert (event["snapshots"], event["unused"]) == (PARTITIONS - 1, 1)


def test_a_topic_that_was_made_again_is_read_from_its_beginning(changelog: Changelog) -> None:
    changelog.commit([(p, b"ann", b"old") for p in range(PARTITIONS)])
    changelog.save(changelog.stable_ends())
    changelog.admin.delete_topics([changelog.topic])[changelog.topic].result(30)
    _until(lambda: changelog.topic not in changelog.admin.list_topics(timeout=10).topics, "the topic is gone")
    changelog.make()
    changelog.owner = changelog.producer("owner")
    changelog.commit([(p, b"bob", b"new") for p in range(PARTITIONS) for _ in range(9)])
    found, event = changelog.recover(changelog.folder)
    assert found == changelog.states
    assert (event["snapshots"], event["unused"]) == (0, PARTITIONS)


def test_a_recovery_says_how_far_it_is(changelog: Changelog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.runtime.recovery.PROGRESS_S", 0.0)  # at each turn
    changelog.commit([(n % PARTITIONS, b"user-%d" % (n % 5_000), b"v" * 200) for n in range(60_000)])
    reader = ChangelogReader(Connection(changelog.kafka), APP, changelog.admin, changelog.ends, None)
    with capture_logs() as lines:
        reader.read(changelog.topic, range(PARTITIONS), lambda: True)
    reader.close()
    event = [line for line in lines if line["event"] == "recovering"]
    shares = [line["share"] for line in event]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.5 < shares[-1] <= 1
    assert all((line["left_s"] is None) == (line["share"] == 0) for line in event)
    assert event[-1]["left_s"] < 5
    assert event[-1]["records"] > 30_000
    assert event[-1]["per_s"] > 1_000


def test_a_recovery_ends_at_once_after_another_rebalance(changelog: Changelog) -> None:
    changelog.commit(some(random.Random(1), 50))
    reader = ChangelogReader(Connection(changelog.kafka), APP, changelog.admin, changelog.ends, changelog.folder)
    with pytest.raises(NewerAssignment):
        reader.read(changelog.topic, range(PARTITIONS), lambda: False)
    reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("tombstones", ["kept", "cleaned away"])
def test_compaction_changes_nothing(servers: RealServers, topic_prefix: str, tmp_path: Path, tombstones: str) -> None:
    """With the tombstones gone a snapshot from before them would bring removed keys back, so it must not be used."""
    kept = tombstones == "kept"
    settings = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "100"}
    settings |= {"delete.retention.ms": str(86_400_000 if kept else 100)}
    with (
        busy_cleaner(servers.kafka),
        new_changelog(servers.kafka, topic_prefix, tmp_path, **settings) as changelog,
    ):
        changes_nothing(changelog, kept)


def changes_nothing(changelog: Changelog, kept: bool) -> None:
    chance = random.Random(3)
    changelog.commit([(p, b"gone", b"here") for p in range(PARTITIONS)])
    changelog.commit(some(chance, 200))
    changelog.save(changelog.stable_ends())
    tombstone = changelog.stable_ends()[TopicPartition(changelog.topic, 0)]
    changelog.commit([(p, b"gone", None) for p in range(PARTITIONS)])

    def is_cleaned() -> bool:
        changelog.commit(some(chance, 60))  # a segment that is written to is never cleaned
        changelog.abort(some(chance, 10))
        offsets = changelog.offsets(0)
        return len(offsets) < changelog.written / PARTITIONS / 2 and (kept or tombstone not in offsets)

    _until(is_cleaned, "the cleaner has run")
    whole, said_whole = changelog.recover(None)
    partly, said_partly = changelog.recover(changelog.folder)
    assert whole == partly == changelog.states
    assert int(str(said_whole["records"])) < changelog.written / 2
    assert (said_partly["snapshots"], said_partly["off"]) == ((PARTITIONS, 0) if kept else (0, 1))
    origin = changelog.origin(0)
    assert b"gone" in read(changelog.folder.path(origin), origin).entries


def _until(holds: Callable[[], object], what: str, within_s: float = HANGS_AFTER_S) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)


class StallingReader(ChangelogReader):
    """The test pauses its first client after some records, which looks like a client that stopped fetching."""

    clients: tuple[Consumer, ...] = ()

    def _consume(self, consumer: Consumer, progress: recovery._Progress) -> bool:
        if consumer in self.clients:
            return super()._consume(consumer, progress)
        came = False
        if not self.clients:
            while not (came := super()._consume(consumer, progress)):
                pass
            consumer.pause([confluent_kafka.TopicPartition(progress.topic, p) for p in progress.parts])
        self.clients += (consumer,)
        return came


def test_a_recovery_replaces_a_client_that_fetches_nothing_any_more(
    changelog: Changelog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "SILENCE_S", 0.5)
    monkeypatch.setattr(recovery, "BATCH", 10)
    changelog.commit([(0, b"user-%d" % n, b"%d" % n) for n in range(100)])
    changelog.commit([(0, b"user-7", None)])
    reader = StallingReader(Connection(changelog.kafka), APP, changelog.admin, changelog.ends, None)
    with capture_logs() as lines:
        found = reader.read(changelog.topic, range(PARTITIONS), lambda: True)
    reader.close()
    assert {partition: recovered.entries for partition, recovered in found.items()} == changelog.states
    assert len(reader.clients) == 2
    assert [line["event"] for line in lines].count("recovery_reopens") == 1
