"""Faust's consumer slot: batches of the merged inputs, and single records of every other topic, from the intake."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, cast

import structlog
from confluent_kafka import Message
from faust.transport.consumer import Consumer as FaustConsumer
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import Service

from infra.kafka.topics import TopicPartition
from schemas.waiting import event_within
from streams.faust.assignment import AssignmentRecovery
from streams.faust.background import in_thread
from streams.faust.batches import AckSensor
from streams.faust.core import RuntimeCore
from streams.runtime.clock import Batch
from streams.runtime.ending import end_process
from streams.runtime.fetchwatch import FetchWatch
from streams.runtime.group_offsets import GroupOffsets
from streams.runtime.intake import Intake

log = structlog.get_logger()

CALLBACK_S = 60.0
"""How long the consume thread waits for the event loop to handle a rebalance. A loop that takes longer is stuck."""
REVOKE_S = 8.0
"""How long a revocation waits for the last checkpoint: less than the transaction timeout of 10 s, so that the next
owner never waits for what this one cannot finish."""
LEAVE_S = 3.0
"""How long a stop waits for the consumer to leave its group."""


class EventLoopListener:
    """Passes the intake's callbacks from the consume thread to the event loop."""

    def __init__(self, consumer: "Consumer", loop: asyncio.AbstractEventLoop) -> None:
        self._consumer = consumer
        self._loop = loop

    def assigned(self, partitions: frozenset[TopicPartition], membership: object) -> None:
        """Blocks until Faust has handled the assignment."""
        self._wait_for(self._consumer.handle_assignment(partitions, membership))

    def revoked(self, partitions: frozenset[TopicPartition], lost: bool) -> None:
        """Blocks until the partitions are committed, unless they are lost."""
        self._wait_for(self._consumer.handle_revocation(partitions, lost))

    def arrived(self) -> None:
        """Wakes the fetcher, unless it will look for records anyway: it clears the event before it looks."""
        if not self._consumer.arrived.is_set():
            self._loop.call_soon_threadsafe(self._consumer.arrived.set)

    def failed(self, reason: str) -> None:
        """Ends the process."""
        end_process(reason)

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result(CALLBACK_S)
        except TimeoutError:
            end_process(f"the event loop did not handle a rebalance within {CALLBACK_S:g} s")


class Consumer(FaustConsumer):
    """Gives Faust batches of the merged inputs, and single records of every other topic."""

    consumer_stopped_errors = ()
    transport: Any  # our Transport, which has the runtime
    app: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        runtime = self.runtime = self._runtime()
        self.arrived = asyncio.Event()
        self.intake = Intake(
            runtime.connection, runtime.settings.intake, EventLoopListener(self, asyncio.get_running_loop())
        )
        self.offsets = GroupOffsets(self.intake)
        self.recovery = AssignmentRecovery(runtime, self.offsets)
        self._fetch_watch = FetchWatch(self.intake, runtime.ends, runtime.stalled, end_process)
        self.app.sensors.add(AckSensor(self.app, runtime.checkpointer.gate, runtime.buffer, self.intake.release))
        self._partitions: frozenset[TopicPartition] = frozenset()
        self._starts: dict[TopicPartition, int] | None = None
        self.membership: object = None

    def _runtime(self) -> RuntimeCore:
        runtime: RuntimeCore = self.transport.runtime
        return runtime

    async def on_start(self) -> None:
        """Starts the added services, then the consume thread."""
        for service in self.runtime.services:
            await self.add_runtime_dependency(service)
        self.intake.start()

    @Service.task
    async def _commit_handler(self) -> None:
        """Takes checkpoints at their interval, or one after the other if they take longer."""
        loop, interval_s = asyncio.get_running_loop(), self.runtime.settings.checkpoint_s
        while not self.should_stop:
            began_s = loop.time()
            await self.commit()
            await self.sleep(max(0.01, interval_s - (loop.time() - began_s)))

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Nothing: the checkpointer ends the process if a checkpoint does not end."""

    @Service.task
    async def _request_ends(self) -> None:
        await self.runtime.inputs.request_ends(lambda: self.should_stop, self.arrived)

    @Service.task
    async def _watch_fetches(self) -> None:
        await self._fetch_watch.run(self.sleep, lambda: self.should_stop)

    @Service.task
    async def _take_snapshots(self) -> None:
        await self.runtime.snapshotter.run(self.sleep, lambda: self.should_stop)

    # Rebalances: called in the event loop by the consume thread, which waits.

    async def handle_assignment(self, partitions: frozenset[TopicPartition], membership: object) -> None:
        """Handles an assignment. Recovery follows after this returns; nothing is fetched until then."""
        self.app.consumer_generation_id += 1
        self._partitions, self.membership = partitions, membership
        self.runtime.check_assignment(partitions)
        for known in (self._acked, self._acked_index, self._read_offset, self._committed_offset):
            known.clear()
        if not self.app.rebalancing:
            self.app.on_rebalance_start()
        await self.on_partitions_assigned({TP(*tp) for tp in partitions}, self.app.consumer_generation_id)
        self.runtime.checkpointer.resume()

    async def handle_revocation(self, partitions: frozenset[TopicPartition], lost: bool) -> None:
        """Handles a revocation: commits, then drops the state. Lost partitions cannot be committed."""
        self.app.on_rebalance_start()
        if not lost and not await self.runtime.checkpointer.finish(REVOKE_S):
            log.warning("revoked_uncommitted", waited_s=REVOKE_S)
        self.suspend()
        await self.on_partitions_revoked({TP(*tp) for tp in partitions})
        self.runtime.drop()
        self._partitions = frozenset()
        self.runtime.checkpointer.resume()

    def suspend(self) -> None:
        """Stops the flow of events. It resumes after a recovery."""
        self.stop_flow()
        self.app.flow_control.suspend()

    def start_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Sets where the next `seek_to_committed` begins to fetch."""
        self._starts = dict(offsets)

    # Faust's slots.

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Any]]:
        active = active_partitions or set()
        records = self._take(active)
        if not records:
            self.arrived.clear()
            records = self._take(active)  # what arrived before the clear
        if not records:
            if not await event_within(self.arrived, min(timeout, 0.25)):
                return {}
            records = self._take(active)
        return records

    def _take(self, active: set[TP]) -> dict[TP, list[Any]]:
        inputs = self.runtime.inputs
        for arrival in self.intake.take():
            inputs.accept(arrival)
        if (starving := inputs.starving()) is not None:
            self.intake.starve(starving)
        return {TP(*tp): records for tp, records in inputs.take(cast(Any, active)).items()}

    def _to_message(self, tp: TP, record: Batch[Message] | Message) -> ConsumerMessage:
        generation = self.app.consumer_generation_id
        if isinstance(record, Batch):
            at_s = record.clock_ms / 1000
            batch = cast(Any, record)  # Faust types a value as bytes
            address = (tp.topic, tp.partition, (generation << 40) + record.number)  # unique over generations
            return ConsumerMessage(*address, at_s, 1, [], None, batch, None, 0, 0, tp, generation_id=generation)
        kind, at_ms = record.timestamp()
        key, value = record.key(), record.value()
        headers: Any = record.headers() or []
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.offset() or 0,
            at_ms / 1000,
            kind,
            headers,
            key,
            value,
            None,
            len(key or b""),
            len(value or b""),
            tp,
            generation_id=generation,
        )

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Joins the group."""
        self.intake.subscribe(set(topics) | set(self.runtime.settings.inputs))

    def assignment(self) -> set[TP]:
        """The assigned partitions."""
        return {TP(*tp) for tp in self._partitions}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Begins to fetch after a recovery. Faust calls this at other times too, when positions must not change."""
        starts, self._starts = self._starts, None
        if starts is not None:
            await asyncio.wrap_future(self.intake.start_at(starts))
        return {}

    def highwater(self, tp: TP) -> int:
        """The last known end. Faust calls this for each event, and only the consume thread may use the consumer."""
        return self.runtime.inputs.known_end(TopicPartition(*tp))

    def topic_partitions(self, topic: str) -> int | None:  # noqa: ARG002 - all topics have one count
        """The shared partition count."""
        return self.runtime.settings.partitions

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:  # noqa: ARG002
        """The given partition. Without one, the producer's partitioner chooses."""
        return partition

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Creates a topic."""
        await self.app.producer.create_topic(*args, **kwargs)

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Takes a checkpoint. It contains everything, because it is one transaction."""
        self._forget_acks()
        return await self.runtime.checkpointer.checkpoint()

    def forget_ack(self, tp: TP, offset: int) -> None:
        """Undoes Faust's ack of a message of an earlier generation: its offset is read again in this one."""
        self._acked_index[tp].discard(offset)

    def _forget_acks(self) -> None:
        """Clears Faust's own lists of acks, which would grow for ever. The buffer has the acks."""
        for acked in self._acked.values():
            acked.clear()
        for offsets in self._acked_index.values():
            offsets.clear()

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: gaps are control records and batches."""

    async def on_stop(self) -> None:
        """Commits, and leaves the group."""
        await self.runtime.finish()
        self.intake.stop()
        if self.intake.is_alive():  # otherwise it was stopped before it started
            await in_thread(lambda: self.intake.join(LEAVE_S))
        self.runtime.close()

    def close(self) -> None:
        """Nothing: `on_stop` closes everything."""

    # Not supported: only the checkpoint commits, and only the recovery sets positions.

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        raise NotImplementedError("offsets are committed by the checkpoint")

    async def _seek(self, tp: TP, offset: int) -> None:
        raise NotImplementedError("positions are set by the recovery")

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Not supported."""
        raise NotImplementedError("positions are set by the recovery")

    async def seek_to_beginning(self, *partitions: TP) -> None:
        """Not supported."""
        raise NotImplementedError("positions are set by the recovery")

    async def position(self, tp: TP) -> int | None:  # noqa: ARG002
        """Unknown to Faust."""
        return None

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:  # noqa: ARG002
        """Unknown to Faust."""
        return {}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:  # noqa: ARG002
        """Unknown to Faust."""
        return {}
