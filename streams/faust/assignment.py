"""The recovery of an assignment: the offsets and state of its partitions, and when processing may begin."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog
from confluent_kafka import KafkaException

from infra.kafka.retry import RETRY_TIMEOUT_S, retry
from infra.kafka.topics import TopicPartition
from streams.faust.background import in_thread
from streams.faust.core import RuntimeCore
from streams.faust.table import Table
from streams.runtime.checkpoint import OffsetMetadata
from streams.runtime.ending import end_for_repair
from streams.runtime.group_offsets import GroupOffsets
from streams.runtime.inputs import by_number
from streams.runtime.recovery import NewerAssignment, RecoveredPartition

log = structlog.get_logger()

READY_CHECK_S = 0.05


class AssignmentRecovery:
    """Recovers the partitions of assignments, one assignment after the other."""

    def __init__(self, runtime: RuntimeCore, offsets: GroupOffsets) -> None:
        self._runtime = runtime
        self._offsets = offsets
        self._never_committed: set[int] = set()
        """Partition numbers without a committed offset of the group."""

    async def recover(
        self, partitions: frozenset[TopicPartition], membership: object, should_continue: Callable[[], bool]
    ) -> dict[TopicPartition, int]:
        """Loads the state of `partitions` and returns the offsets to fetch from.

        Raises NewerAssignment if `should_continue` returns False.
        """
        began_s = time.monotonic()
        numbers = sorted(by_number(partitions, self._runtime.settings.inputs)) or sorted(
            {tp.partition for tp in partitions}
        )
        for observer in self._runtime.observers:
            observer.assigned(numbers)
        await self._runtime.checkpointer.wait_idle()
        committed = await in_thread(lambda: self._committed(partitions, should_continue))
        entries = {}
        for table in self._runtime.tables():
            entries[table] = await in_thread(
                partial(self._runtime.changelogs.read, table.changelog, numbers, should_continue)
            )
        await self._ready(committed, should_continue)
        if not should_continue():
            raise NewerAssignment("assignment")
        self.check_state_has_offsets(entries)
        for table, recovered in entries.items():
            for number, found in recovered.items():
                table.local.load(number, found.entries)
                self._runtime.snapshotter.keep(table.local.partition(number), found)
        self._begin(committed, membership)
        for observer in self._runtime.observers:
            observer.recovered(numbers, time.monotonic() - began_s)
        return {partition: offset for partition, (offset, _) in committed.items()}

    def check_state_has_offsets(self, entries: Mapping[Table, Mapping[int, RecoveredPartition]]) -> None:
        """Ends the process if a partition has state but no committed offset of the group."""
        group = self._runtime.settings.name
        for table, partitions in entries.items():
            for number in sorted(self._never_committed & {n for n, found in partitions.items() if found.entries}):
                end_for_repair(
                    f"partition {number} of {table.changelog} has state, but group {group} has no offsets for it: they "
                    "expired or were deleted, and every record would be applied twice. Set the group's offsets, or "
                    "delete the changelog to start without state"
                )

    async def _ready(
        self, committed: Mapping[TopicPartition, tuple[int, OffsetMetadata]], should_continue: Callable[[], bool]
    ) -> None:
        """Waits for what the processor needs, such as rules no older than those applied last."""
        versions: dict[str, int] = {}
        for _, metadata in committed.values():
            for name, number in metadata.versions.items():
                versions[name] = max(number, versions.get(name, 0))
        logged = False
        while self._runtime.processor is not None and not self._runtime.processor.ready(versions):
            if not should_continue():
                raise NewerAssignment("assignment")
            if not logged:
                log.info("not_ready", waits_for=versions or "a first version")
                logged = True
                for observer in self._runtime.observers:
                    observer.waits(versions)
            await asyncio.sleep(READY_CHECK_S)

    def _begin(self, committed: Mapping[TopicPartition, tuple[int, OffsetMetadata]], membership: object) -> None:
        partitions: dict[int, tuple[dict[str, int], OffsetMetadata]] = {}
        for number, topics in by_number(committed, self._runtime.settings.inputs).items():
            inputs = [TopicPartition(topic, number) for topic in topics]
            metadata = max((committed[tp][1] for tp in inputs), key=lambda m: m.number)
            partitions[number] = {tp.topic: committed[tp][0] for tp in inputs}, metadata
        others = {p: offset for p, (offset, _) in committed.items() if p.topic not in self._runtime.settings.inputs}
        self._runtime.buffer.begin(membership, partitions, others)
        self._runtime.inputs.begin(partitions)
        if self._runtime.processor is not None:
            for number, (_, metadata) in partitions.items():
                self._runtime.processor.loaded(number, metadata)

    def _committed(
        self, partitions: frozenset[TopicPartition], should_continue: Callable[[], bool]
    ) -> dict[TopicPartition, tuple[int, OffsetMetadata]]:
        """Each partition's next offset, not before the first that the broker still has, and its metadata. Blocks."""

        def request(call: Callable[[], Any]) -> Any:
            try:
                return retry(call, RETRY_TIMEOUT_S, should_continue)
            except KafkaException:
                if should_continue():
                    raise
                raise NewerAssignment("assignment") from None

        found, group = {}, self._runtime.settings.name
        self._never_committed = {tp.partition for tp in partitions}
        for answer in request(partial(self._offsets.committed, partitions)) if partitions else []:
            tp = TopicPartition(answer.topic, answer.partition)
            first, end = request(partial(self._offsets.watermarks, tp))
            if answer.offset > end:
                end_for_repair(
                    f"group {group} has applied {tp} up to {answer.offset}, but it ends at {end}: the topic was "
                    "recreated or lost records. If that is intended, delete the group and its changelogs to start "
                    "again, or set the group's offsets"
                )
            if 0 <= answer.offset < first:
                lost = first - answer.offset
                log.error("records_expired", place=str(tp), lost=lost, next_step="keep the topic longer")
            if answer.offset >= 0:
                self._never_committed.discard(tp.partition)
            found[tp] = max(answer.offset, first, 0), OffsetMetadata.decode(answer.metadata)
        return found
