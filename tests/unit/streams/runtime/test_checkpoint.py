"""What a checkpoint holds: offsets of every partition that it touches, clocks, history, and nothing twice."""

import subprocess
import sys
from collections.abc import Mapping

import orjson
import pytest

from infra.kafka.topics import TopicPartition
from streams.runtime.checkpoint import (
    BatchOutOfOrder,
    Buffer,
    JournalSegment,
    NoPartitionsOwned,
    OffsetMetadata,
    OffsetRange,
    Output,
    TableChanges,
    Transaction,
)
from streams.runtime.clock import Batch, Piece

VERSIONS = {"manifest": 3, "control": 1}
CHANGES = [TableChanges("changelog", 0, [(b"k", b"v")])]


def journal(partition: int, segment: JournalSegment) -> Output:
    value = {
        "n": segment.number,
        "applied": list(map(list, segment.applied)),
        "clock": segment.clock_ms,
        "v": dict(segment.versions),
    }
    return Output("journal", None, orjson.dumps(value), partition)


@pytest.fixture
def buffer() -> Buffer:
    """Two partitions of two inputs, and one partition of another topic."""
    buffer = Buffer(journal)
    inputs = {"profiles": 5, "events": 10}
    buffer.begin(
        "membership",
        {0: (inputs, OffsetMetadata(1_000, 7, VERSIONS)), 1: (inputs, OffsetMetadata())},
        {TopicPartition("other", 4): 50},
    )
    return buffer


def records(number: int, clock_ms: int, partition: int = 0) -> Batch[object]:
    return Batch(partition, number, [Piece("events", [object()], [clock_ms])], clock_ms)


def tick(number: int, clock_ms: int, partition: int = 0) -> Batch[object]:
    return Batch(partition, number, [], clock_ms)


def offsets(transaction: Transaction | None) -> Mapping[tuple[str, int], int]:
    assert transaction is not None
    return {(o.topic, o.partition): o.offset for o in transaction.offsets}


def history(transaction: Transaction | None) -> list[dict[str, object]]:
    assert transaction is not None
    return [orjson.loads(o.value or b"") for o in transaction.outputs if o.topic == "journal"]


def test_no_checkpoint_is_written_without_work(buffer: Buffer) -> None:
    assert buffer.drain([]) is None


def test_a_touched_partition_commits_all_of_its_inputs_with_its_mark(buffer: Buffer) -> None:
    buffer.applied(records(1, 2_000), [OffsetRange("events", 10, 14)], False, VERSIONS)
    transaction = buffer.drain(CHANGES)
    assert offsets(transaction) == {("profiles", 0): 5, ("events", 0): 15}
    assert transaction is not None
    marks = [OffsetMetadata.decode(o.metadata) for o in transaction.offsets]
    assert all(mark == OffsetMetadata(2_000, 8, VERSIONS) for mark in marks)
    assert transaction.membership == "membership"
    assert transaction.changes == CHANGES
    assert transaction.records_by_topic() == {"changelog": 1, "journal": 1}


def test_drained_work_is_not_in_the_next_transaction(buffer: Buffer) -> None:
    buffer.applied(records(1, 2_000), [OffsetRange("events", 10, 14)], False, VERSIONS)
    buffer.emit(Output("commands", b"u", b"c"))
    assert buffer.drain([]) is not None
    assert buffer.drain([]) is None


def test_a_tick_that_fires_nothing_commits_nothing(buffer: Buffer) -> None:
    buffer.applied(tick(1, 5_000), [], False, VERSIONS)
    assert buffer.drain([]) is None


def test_a_tick_that_fires_commits_the_unchanged_offsets(buffer: Buffer) -> None:
    """Without an offset nothing would fence the transaction."""
    buffer.applied(tick(1, 5_000), [], True, VERSIONS)
    transaction = buffer.drain([])
    assert offsets(transaction) == {("profiles", 0): 5, ("events", 0): 10}
    assert history(transaction) == [{"n": 8, "applied": [], "clock": 5_000, "v": VERSIONS}]


def test_silent_ticks_are_written_once_and_only_if_something_follows(buffer: Buffer) -> None:
    buffer.applied(tick(1, 5_000), [], False, VERSIONS)
    buffer.applied(tick(2, 6_000), [], False, VERSIONS)
    assert buffer.drain([]) is None
    buffer.applied(records(3, 6_500), [OffsetRange("events", 10, 10)], False, VERSIONS)
    written = history(buffer.drain([]))
    assert [(entry["n"], entry["applied"], entry["clock"]) for entry in written] == [
        (8, [], 6_000),
        (9, [["events", 10, 10]], 6_500),
    ]


def test_a_tick_ends_a_segment(buffer: Buffer) -> None:
    """Replayed, what comes after it must not fire what it fired."""
    buffer.applied(records(1, 2_000), [OffsetRange("events", 10, 10)], False, VERSIONS)
    buffer.applied(tick(2, 3_000), [], True, VERSIONS)
    buffer.applied(records(3, 4_000), [OffsetRange("events", 11, 11)], False, VERSIONS)
    written = history(buffer.drain([]))
    assert [(entry["applied"], entry["clock"]) for entry in written] == [
        ([["events", 10, 10]], 3_000),
        ([["events", 11, 11]], 4_000),
    ]


def test_new_versions_begin_a_segment(buffer: Buffer) -> None:
    newer = {"manifest": 4, "control": 1}
    buffer.applied(records(1, 2_000), [OffsetRange("events", 10, 10)], False, VERSIONS)
    buffer.applied(records(2, 2_001), [OffsetRange("events", 11, 11)], False, newer)
    assert [entry["v"] for entry in history(buffer.drain([]))] == [VERSIONS, newer]


def test_successive_offsets_of_one_input_are_one_run_of_the_journal(buffer: Buffer) -> None:
    buffer.applied(records(1, 2_000), [OffsetRange("events", 10, 10), OffsetRange("profiles", 5, 6)], False, VERSIONS)
    buffer.applied(records(2, 2_000), [OffsetRange("profiles", 7, 7), OffsetRange("events", 12, 13)], False, VERSIONS)
    [entry] = history(buffer.drain([]))
    assert entry["applied"] == [["events", 10, 10], ["profiles", 5, 7], ["events", 12, 13]]


def test_a_run_that_was_dropped_on_the_way_is_noticed(buffer: Buffer) -> None:
    buffer.applied(records(1, 2_000), [OffsetRange("events", 10, 10)], False, VERSIONS)
    with pytest.raises(BatchOutOfOrder, match="partition 0: batch 3 came after batch 1"):
        buffer.applied(records(3, 2_000), [OffsetRange("events", 12, 12)], False, VERSIONS)


def test_acks_of_ordinary_agents_commit_the_offset_after_them(buffer: Buffer) -> None:
    buffer.acked(TopicPartition("other", 4), 51)
    buffer.acked(TopicPartition("other", 4), 50)
    assert offsets(buffer.drain([])) == {("other", 4): 52}


def test_outputs_without_a_partition_are_sent_with_an_unchanged_offset(buffer: Buffer) -> None:
    buffer.emit(Output("commands", b"u", b"c"))
    assert offsets(buffer.drain([])) == {("profiles", 0): 5, ("events", 0): 10}


def test_an_output_takes_hardly_more_memory_than_its_bytes() -> None:
    """A result of orjson would keep 8 KiB."""
    script = (
        "import orjson\n"
        "from streams.runtime.checkpoint import Buffer, Output\n"
        "buffer = Buffer(); buffer.begin(object(), {}, {})\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "before = resident()\n"
        "for _ in range(10_000): buffer.emit(Output('decisions', b'u1', orjson.dumps('x' * 900), 0))\n"
        "print((resident() - before) / len(buffer.outputs))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1_200


def test_after_a_loss_nothing_is_left_and_nothing_is_taken(buffer: Buffer) -> None:
    buffer.emit(Output("commands", b"u", b"c"))
    buffer.drop()
    assert not buffer.owned
    assert buffer.drain(CHANGES) is None
    buffer.acked(TopicPartition("other", 4), 60)
    with pytest.raises(NoPartitionsOwned):
        buffer.emit(Output("commands", b"u", b"c"))


@pytest.mark.parametrize(
    "metadata", [None, "", "{}", "[]", "null", '{"clock": "x"}', "faust", '{"clock":1,"number":2}']
)
def test_metadata_of_another_program_is_ignored(metadata: str | None) -> None:
    assert OffsetMetadata.decode(metadata) == OffsetMetadata()
