"""Snapshots hold committed state of held partitions, are taken when enough was written, and block no other work."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from infra.kafka.topics import TopicPartition
from streams.runtime.checkpoint import Buffer, OffsetMetadata, TableChanges, Transaction
from streams.runtime.checkpointer import Checkpointer
from streams.runtime.commit import CommitOutcome
from streams.runtime.recovery import RecoveredPartition
from streams.runtime.snapshot import Origin, SnapshotFolder, read
from streams.runtime.snapshotter import Snapshotter
from streams.runtime.state import Partitions

TOPIC = "app-users-changelog"
HELD = (0, 1)


class StoreAnswers:
    """A committer and a broker with given answers, and what happens before they answer."""

    def __init__(self) -> None:
        self.result = CommitOutcome.OK
        self.transaction: list[Transaction] = []
        self.requests: list[list[TopicPartition]] = []
        self.ends = {TopicPartition(TOPIC, partition): 100 + partition for partition in HELD}

    def stage(self, transaction: Transaction) -> KafkaException | None:
        self.transaction.append(transaction)
        return None

    def commit(self, transaction: Transaction, staged: KafkaException | None = None) -> CommitOutcome:  # noqa: ARG002
        return self.result

    def is_stuck(self) -> bool:
        return False

    def last_stable(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        self.requests.append(list(places))
        return {place: end for place, end in self.ends.items() if place in self.requests[-1]}


class Users:
    """A table as the checkpointer sees it."""

    def __init__(self) -> None:
        self.local: Partitions[bytes] = Partitions()

    def drop(self) -> None:
        self.local.drop()

    def changes(self) -> list[TableChanges]:
        return self.local.collect(TOPIC)


class SnapshotterWorld:
    """A worker's state with two partitions held, and its snapshots."""

    def __init__(self, folder: Path) -> None:
        self.answers: Any = StoreAnswers()
        self.users = Users()
        self.buffer = Buffer()
        self.checkpointer = Checkpointer(self.buffer, self.answers, lambda: [self.users], pytest.fail, self.lost)
        self.folder = SnapshotFolder(folder, "0")
        self.snapshotter = Snapshotter(self.folder, self.checkpointer, self.answers, interval_s=0.01)
        self.hold()

    def hold(self) -> None:
        self.buffer.begin("membership", {partition: ({"events": 0}, OffsetMetadata()) for partition in HELD}, {})
        for partition in HELD:
            self.users.local.load(partition, {})
            found = RecoveredPartition({}, 0, 0, 0.0, self.origin(partition), 3_600.0)
            self.snapshotter.keep(self.users.local.partition(partition), found)

    def lost(self) -> None:
        self.snapshotter.drop()

    def origin(self, partition: int) -> Origin:
        return Origin("app", TOPIC, "id", 2, partition)

    def saved(self, partition: int) -> tuple[dict[bytes, bytes], int] | None:
        path = self.folder.path(self.origin(partition))
        if not path.exists():
            return None
        found = read(path, self.origin(partition))
        return found.entries, found.offset

    async def change(self, partition: int, key: bytes, value: bytes) -> None:
        """A change that is committed."""
        self.users.local.put(partition, key, value)
        await self.checkpointer.checkpoint()

    async def turn(self, times: int = 1) -> None:
        """The snapshotter looks that many times."""
        left = [times]

        async def sleep(_: float) -> None:
            await asyncio.sleep(0.02)
            left[0] -= 1

        await self.snapshotter.run(sleep, lambda: left[0] <= 0)


@pytest.fixture
async def world(tmp_path: Path) -> SnapshotterWorld:
    return SnapshotterWorld(tmp_path)


async def test_a_snapshot_has_the_offset_that_was_requested_before_its_checkpoint(world: SnapshotterWorld) -> None:
    await world.change(0, b"ann", b"1")
    await world.turn()
    assert world.saved(0) == ({b"ann": b"1"}, 100)
    assert world.saved(1) is None


async def test_a_checkpoint_proves_the_offset_even_without_work(world: SnapshotterWorld) -> None:
    await world.change(0, b"ann", b"1")
    before = len(world.answers.transaction)
    await world.turn()
    (proof,) = world.answers.transaction[before:]
    assert not proof.outputs
    assert [(o.topic, o.offset) for o in proof.offsets] == [("events", 0)]


async def test_once_the_partitions_are_being_given_up_nothing_is_proven_and_nothing_begun(
    world: SnapshotterWorld,
) -> None:
    await world.change(0, b"ann", b"1")
    before = len(world.answers.transaction)
    giving_up = asyncio.create_task(world.checkpointer.finish(5.0))
    await world.turn()
    assert await giving_up
    assert len(world.answers.transaction) == before
    assert world.saved(0) is None
    entering = asyncio.create_task(world.checkpointer.gate.enter(object()))
    await asyncio.wait({entering}, timeout=0.05)
    assert not entering.done()
    world.checkpointer.resume()
    await entering


async def test_changes_after_the_checkpoint_are_not_in_the_snapshot(world: SnapshotterWorld) -> None:
    await world.change(0, b"ann", b"1")
    begun = await world.snapshotter.begin_final()
    assert begun is not None
    await world.checkpointer.finish(5.0, force=True)
    world.users.local.put(0, b"bob", b"uncommitted")
    assert await world.snapshotter.save(begun)
    assert world.saved(0) == ({b"ann": b"1"}, 100)


async def test_a_worker_whose_partitions_are_gone_saves_nothing(world: SnapshotterWorld) -> None:
    """Its offset may be a later owner's: requested after that owner wrote, and before this worker noticed."""
    await world.change(0, b"ann", b"1")
    world.answers.result = CommitOutcome.LOST
    await world.turn()
    assert world.saved(0) is None


async def test_partitions_that_come_back_meanwhile_are_not_saved_for_an_offset_of_before(
    world: SnapshotterWorld,
) -> None:
    await world.change(0, b"ann", b"1")
    begun = await world.snapshotter.begin_final()
    assert begun is not None
    world.checkpointer.drop()
    world.lost()
    world.hold()
    await world.change(0, b"bob", b"2")
    assert await world.snapshotter.save(begun)
    assert world.saved(0) is None


async def test_no_snapshot_is_written_if_the_broker_does_not_return_the_ends(world: SnapshotterWorld) -> None:
    await world.change(0, b"ann", b"1")
    world.answers.ends.clear()
    await world.turn()
    assert world.answers.requests
    assert world.saved(0) is None
    assert await world.snapshotter.begin_final() is None


async def test_a_partition_is_saved_again_when_a_tenth_of_it_was_written(world: SnapshotterWorld) -> None:
    for number in range(50):
        world.users.local.put(0, b"user-%d" % number, b"0")
    await world.change(0, b"user-0", b"1")
    await world.turn()
    world.answers.ends[TOPIC, 0] = 200
    for number in range(4):
        await world.change(0, b"user-%d" % number, b"2")
    await world.turn(3)
    found = world.saved(0)
    assert found is not None
    assert found[1] == 100
    await world.change(0, b"user-9", b"2")
    await world.turn()
    found = world.saved(0)
    assert found is not None
    assert (found[0][b"user-9"], found[1]) == (b"2", 200)


async def test_without_changes_nothing_is_requested_or_saved(world: SnapshotterWorld) -> None:
    await world.turn(3)
    assert world.answers.requests == []
    assert world.answers.transaction == []


async def test_after_a_failure_no_snapshot_is_written_for_an_interval(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    world = SnapshotterWorld(tmp_path / "file")
    pauses: list[float] = []

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    world.snapshotter = Snapshotter(world.folder, world.checkpointer, world.answers, interval_s=60.0)
    world.hold()
    await world.change(0, b"ann", b"1")
    await world.snapshotter.run(sleep, lambda: len(pauses) == 2)
    assert pauses == [1.0, 60.0]
    assert world.saved(0) is None


async def test_a_stop_skips_snapshots_that_it_has_no_time_for(
    world: SnapshotterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.runtime.snapshotter.STOP_S", 0.0)
    await world.change(0, b"ann", b"1")
    begun = await world.snapshotter.begin_final()
    assert begun is not None
    assert not await world.snapshotter.save(begun)
    assert world.saved(0) is None


async def test_a_partition_is_saved_again_soon_after_a_key_was_removed(world: SnapshotterWorld) -> None:
    """However few of its keys were written: the file must not keep a person who was erased."""
    for number in range(100):
        world.users.local.put(0, b"user-%d" % number, b"state")
    await world.checkpointer.checkpoint()
    await world.turn()
    world.users.local.remove(0, b"user-7")
    await world.checkpointer.checkpoint()
    await world.turn()
    entries, _ = world.saved(0) or ({}, 0)
    assert len(entries) == 99
    assert b"user-7" not in entries
    requests = len(world.answers.requests)
    await world.turn()
    assert len(world.answers.requests) == requests, "and once is enough"


async def test_a_key_removed_behind_the_snapshot_of_a_recovery_makes_it_due(world: SnapshotterWorld) -> None:
    world.snapshotter.drop()
    origin = world.origin(0)
    found = RecoveredPartition({}, 50, 60, 1.0, origin, 1e12, removed=1)
    world.snapshotter.keep(world.users.local.partition(0), found)
    await world.turn()
    assert world.saved(0) == ({}, 100)


async def test_files_that_nobody_writes_any_more_are_removed(world: SnapshotterWorld) -> None:
    """As of a partition that moved to another machine while people were erased there."""
    await world.change(0, b"ann", b"state")
    await world.turn()
    path = world.folder.path(world.origin(0))
    world.folder.drop_old(3_600.0)
    assert path.exists()
    os.utime(path, (0, 0))
    world.folder.drop_old(3_600.0)
    assert not path.exists()
