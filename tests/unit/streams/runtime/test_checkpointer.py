"""While one checkpoint is written, what belongs to the next goes on; never for long, and not while the work ends."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaException

from streams.runtime import checkpointer as module
from streams.runtime.checkpoint import Buffer, OffsetMetadata, Output, TableChanges, Transaction
from streams.runtime.checkpointer import CheckpointedTable, Checkpointer
from streams.runtime.commit import CommitOutcome
from streams.runtime.state import Partitions


class Slow:
    """A committer that waits until the test sets the result."""

    def __init__(self) -> None:
        self.result: CommitOutcome = CommitOutcome.OK
        self.may_end = threading.Event()
        self.transaction: list[Transaction] = []
        self.fails = ""

    def stage(self, transaction: Transaction) -> KafkaException | None:
        self.transaction.append(transaction)
        if self.fails == "stage":
            raise TypeError("no header is an int")
        return None

    def commit(self, transaction: Transaction, staged: KafkaException | None = None) -> CommitOutcome:  # noqa: ARG002
        assert self.may_end.wait(10)
        if self.fails == "commit":
            raise TypeError("no offset is a str")
        return self.result

    def is_stuck(self) -> bool:
        return False


class CheckpointerWorld:
    """A checkpointer over one owned partition, and what was begun."""

    def __init__(self) -> None:
        self.committer = Slow()
        self.buffer = Buffer()
        self.buffer.begin("member", {0: ({"events": 0}, OffsetMetadata())}, {})
        self.fatal: list[str] = []
        self.losses = 0
        committer: Any = self.committer
        self.states: list[CheckpointedTable] = []
        self.checkpointer = Checkpointer(self.buffer, committer, lambda: self.states, self.fatal.append, self._lost)

    def _lost(self) -> None:
        self.losses += 1

    def do(self, what: str) -> None:
        """Something that a checkpoint must hold."""
        self.buffer.emit(Output("commands", None, what.encode(), 0))

    def written(self) -> list[list[bytes | None]]:
        return [[output.value for output in transaction.outputs] for transaction in self.committer.transaction]

    async def open_for(self, seconds: float) -> bool:
        """Whether an event may be begun within that time."""
        try:
            async with asyncio.timeout(seconds):
                await self.checkpointer.gate.enter(object())
        except TimeoutError:
            return False
        return True


@pytest.fixture
def world() -> Iterator[CheckpointerWorld]:
    world = CheckpointerWorld()
    yield world
    world.committer.may_end.set()


async def begun(world: CheckpointerWorld) -> "asyncio.Task[bool]":
    """A checkpoint whose commit is under way."""
    before = len(world.committer.transaction)
    task = asyncio.create_task(world.checkpointer.checkpoint())
    while len(world.committer.transaction) == before:
        await asyncio.sleep(0)
    return task


async def test_events_are_begun_while_a_commit_is_under_way_and_belong_to_the_next(world: CheckpointerWorld) -> None:
    world.do("first")
    first = await begun(world)
    assert await world.open_for(0.5)
    world.do("second")
    assert world.written() == [[b"first"]]
    world.committer.may_end.set()
    assert await first
    assert await world.checkpointer.checkpoint()
    assert world.written() == [[b"first"], [b"second"]]


async def test_a_slow_commit_closes_the_gate_until_it_is_done(
    world: CheckpointerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OVERLAP_S", 0.01)
    world.do("first")
    first = await begun(world)
    while await world.open_for(0.001):
        await asyncio.sleep(0)
    assert not await world.open_for(0.05)
    world.committer.may_end.set()
    assert await first
    assert await world.open_for(0.5)


async def test_one_transaction_at_a_time(world: CheckpointerWorld) -> None:
    world.do("first")
    first = await begun(world)
    world.do("second")
    second = asyncio.create_task(world.checkpointer.checkpoint())
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(world.committer.transaction) == 1
    world.committer.may_end.set()
    assert await first
    assert await second
    assert len(world.committer.transaction) == 2


async def test_nothing_is_begun_once_the_work_ends_also_while_a_commit_is_under_way(world: CheckpointerWorld) -> None:
    world.do("first")
    first = await begun(world)
    world.do("second")
    last = asyncio.create_task(world.checkpointer.finish(5.0))
    await asyncio.sleep(0)
    assert not await world.open_for(0.05)
    world.committer.may_end.set()
    assert await last
    assert await first
    assert world.written() == [[b"first"], [b"second"]]
    assert not await world.open_for(0.05)


async def test_work_done_during_a_lost_transaction_is_lost_with_it(world: CheckpointerWorld) -> None:
    world.do("first")
    first = await begun(world)
    world.do("second")
    world.committer.result = CommitOutcome.LOST
    world.committer.may_end.set()
    assert not await first
    assert world.losses == 1
    assert not world.buffer.owned
    assert not await world.checkpointer.checkpoint()
    assert world.written() == [[b"first"]]


class TextTable(Partitions[Any]):
    """A table of two partitions, whose values are encoded as text."""

    def __init__(self) -> None:
        super().__init__(lambda _, value: value.encode(), lambda _, raw: raw.decode())
        self.load(0, {})
        self.load(1, {})

    def changes(self) -> list[TableChanges]:
        return self.collect("changelog")


@pytest.mark.parametrize("where", ["stage", "commit"])
async def test_a_defect_in_writing_a_checkpoint_ends_the_process(world: CheckpointerWorld, where: str) -> None:
    """The buffer no longer has its records, and the last checkpoint of a stop would commit offsets after them."""
    world.committer.fails = where
    world.committer.may_end.set()
    world.do("first")
    with pytest.raises(TypeError):
        await world.checkpointer.checkpoint()
    assert ["TypeError" in reason for reason in world.fatal] == [True]
    assert world.written() == [[b"first"]]


async def test_a_value_that_cannot_be_serialised_ends_the_process_before_others_are_committed(
    world: CheckpointerWorld,
) -> None:
    table = TextTable()
    world.states.append(table)
    table.put(0, b"u", "fine")
    table.put(1, b"v", 5)
    with pytest.raises(AttributeError):
        await world.checkpointer.checkpoint()
    assert ["AttributeError" in reason for reason in world.fatal] == [True]
    assert world.written() == []
