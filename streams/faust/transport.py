"""Faust's transport slots on confluent-kafka: Consumer, Producer, TransactionManager, Transport. Faust's side only:
what is behind them is in intake, clock, checkpoint, commit and recovery, which know no Faust.

Where private names of Faust 0.15.3 are relied on, tests/unit/streams/faust/test_faust_contract.py asserts them.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from typing import Any, cast

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__
from faust.transport import base
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.consumer import TransactionManager as FaustTransactionManager
from faust.transport.producer import Producer as FaustProducer
from faust.types import TP
from faust.types.tuples import ConsumerMessage, RecordMetadata
from mode import Service

from infra.kafka.retry import error_of, retry
from infra.kafka.topics import TopicPartition
from schemas.waiting import event_within
from streams.faust.assignment import AssignmentRecovery
from streams.faust.background import in_thread
from streams.faust.batches import AckSensor
from streams.faust.core import RuntimeCore
from streams.runtime.checkpoint import Output
from streams.runtime.clock import Batch
from streams.runtime.ending import end_process
from streams.runtime.fetchwatch import FetchWatch
from streams.runtime.group_offsets import GroupOffsets
from streams.runtime.intake import Intake

log = structlog.get_logger()

CALLBACK_S = 60.0
"""How long the consume thread waits for the event loop to handle a rebalance: a loop that takes longer is stuck."""
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

    def assigned(self, places: frozenset[TopicPartition], membership: object) -> None:
        """Blocks until Faust has handled the assignment."""
        self._wait_for(self._consumer.take_over(places, membership))

    def revoked(self, places: frozenset[TopicPartition], lost: bool) -> None:
        """Blocks until the partitions are committed, unless they are lost."""
        self._wait_for(self._consumer.give_up(places, lost))

    def arrived(self) -> None:
        """Wakes the fetcher."""
        self._loop.call_soon_threadsafe(self._consumer.arrived.set)

    def failed(self, reason: str) -> None:
        """Ends the process."""
        end_process(reason)

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result(CALLBACK_S)
        except TimeoutError:
            end_process(f"the event loop did not deal with a rebalance within {CALLBACK_S:g} s")


class Consumer(FaustConsumer):
    """Gives Faust batches of the merged inputs, and single records of every other topic."""

    consumer_stopped_errors = ()
    transport: "Transport"
    app: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.runtime = self.transport.runtime
        runtime = self.runtime
        self.arrived = asyncio.Event()
        self.intake = Intake(
            runtime.connection, runtime.settings.intake, EventLoopListener(self, asyncio.get_running_loop())
        )
        self.offsets = GroupOffsets(self.intake)
        self.recovery = AssignmentRecovery(runtime, self.offsets)
        self._fetch_watch = FetchWatch(self.intake, runtime.ends, runtime.stalled, end_process)
        self.app.sensors.add(AckSensor(self.app, runtime.checkpointer.gate, runtime.buffer, self.intake.release))
        self._places: frozenset[TopicPartition] = frozenset()
        self._starts: dict[TopicPartition, int] | None = None
        self.membership: object = None

    async def on_start(self) -> None:
        """Starts the consume thread, and what runs beside the worker."""
        for service in self.runtime.services:
            await self.add_runtime_dependency(service)
        self.intake.start()

    @Service.task
    async def _commit_handler(self) -> None:
        """Checkpoints at their interval, or one after the other where they take longer."""
        loop, interval_s = asyncio.get_running_loop(), self.runtime.settings.checkpoint_s
        while not self.should_stop:
            began_s = loop.time()
            await self.commit()
            await self.sleep(max(0.01, interval_s - (loop.time() - began_s)))

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Nothing: a checkpoint that does not come to an end ends the process."""

    @Service.task
    async def _learn_ends(self) -> None:
        await self.runtime.inputs.learn_ends(lambda: self.should_stop, self.arrived)

    @Service.task
    async def _watch_fetches(self) -> None:
        await self._fetch_watch.run(self.sleep, lambda: self.should_stop)

    @Service.task
    async def _take_snapshots(self) -> None:
        await self.runtime.snapshotter.run(self.sleep, lambda: self.should_stop)

    # Rebalances: called in the event loop by the consume thread, which waits.

    async def take_over(self, places: frozenset[TopicPartition], membership: object) -> None:
        """Handles an assignment. Recovery follows after this returns; nothing is fetched until then."""
        self.app.consumer_generation_id += 1
        self._places, self.membership = places, membership
        self.runtime.check_assignment(places)
        for known in (self._acked, self._acked_index, self._read_offset, self._committed_offset):
            known.clear()
        if not self.app.rebalancing:
            self.app.on_rebalance_start()
        await self.on_partitions_assigned({TP(*place) for place in places}, self.app.consumer_generation_id)
        self.runtime.checkpointer.resume()

    async def give_up(self, places: frozenset[TopicPartition], lost: bool) -> None:
        """Handles a revocation: commits, then drops the state. Lost partitions cannot be committed."""
        self.app.on_rebalance_start()
        if not lost and not await self.runtime.checkpointer.finish(REVOKE_S):
            log.warning("revoked_uncommitted", waited_s=REVOKE_S)
        self.suspend()
        await self.on_partitions_revoked({TP(*place) for place in places})
        self.runtime.drop()
        self._places = frozenset()
        self.runtime.checkpointer.resume()

    def suspend(self) -> None:
        """Stops the flow of events; it resumes after a recovery."""
        self.stop_flow()
        self.app.flow_control.suspend()

    def start_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Where the next `seek_to_committed` begins to fetch."""
        self._starts = dict(offsets)

    # Faust's slots.

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Any]]:
        active = active_partitions or set()
        records = self._take(active)
        if not records:
            self.arrived.clear()
            records = self._take(active)  # what came before the clear
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
            place = (tp.topic, tp.partition, (generation << 40) + record.number)  # unlike any of another generation
            return ConsumerMessage(*place, at_s, 1, [], None, batch, None, 0, 0, tp, generation_id=generation)
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
        """The partitions held."""
        return {TP(*place) for place in self._places}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Begins to fetch after a recovery. Faust asks for it at other times too, where it must not go back."""
        starts, self._starts = self._starts, None
        if starts is not None:
            await asyncio.wrap_future(self.intake.start_at(starts))
        return {}

    def highwater(self, tp: TP) -> int:
        """Faust's monitor asks for each event; the consumer itself must not be asked from here."""
        return self.runtime.inputs.known_end(TopicPartition(*tp))

    def topic_partitions(self, topic: str) -> int | None:  # noqa: ARG002 - all of them have one count
        """The shared partition count."""
        return self.runtime.settings.partitions

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:  # noqa: ARG002
        """The partition asked for; where none is, the producer's partitioner chooses."""
        return partition

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Makes a topic."""
        await self.app.producer.create_topic(*args, **kwargs)

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """A checkpoint: of everything, for it is one transaction."""
        self._forget_acks()
        return await self.runtime.checkpointer.checkpoint()

    def forget_ack(self, tp: TP, offset: int) -> None:
        """Undoes what Faust noted of a message of an earlier generation: the same offset is read again in this one."""
        self._acked_index[tp].discard(offset)

    def _forget_acks(self) -> None:
        """Faust's own lists of acks would grow for ever; the buffer has heard of them."""
        for acked in self._acked.values():
            acked.clear()
        for offsets in self._acked_index.values():
            offsets.clear()

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps are control records and batches here, and mean nothing."""

    async def on_stop(self) -> None:
        """Commits, and leaves the group."""
        await self.runtime.finish()
        self.intake.stop()
        if self.intake.is_alive():  # else it was stopped before it began
            await in_thread(lambda: self.intake.join(LEAVE_S))
        self.runtime.close()

    def close(self) -> None:
        """Nothing: `on_stop` has done it."""

    # Not offered: one transaction commits, and one recovery decides where to begin.

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        raise NotImplementedError("offsets are committed by the checkpoint")

    async def _seek(self, tp: TP, offset: int) -> None:
        raise NotImplementedError("positions are set by the recovery")

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Not offered."""
        raise NotImplementedError("positions are set by the recovery")

    async def seek_to_beginning(self, *partitions: TP) -> None:
        """Not offered."""
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


class Producer(FaustProducer):
    """The transactional producer of this worker. Nothing is ever sent outside of a checkpoint."""

    transport: "Transport"

    async def on_start(self) -> None:
        """Fences every earlier producer of this transactional id, waiting for a broker that is away."""
        await super().on_start()
        await in_thread(self.transport.runtime.committer.open)

    async def create_topic(
        self,
        topic: str,
        partitions: int,
        replication: int,
        *,
        config: Mapping[str, Any] | None = None,
        compacting: bool | None = None,
        **_: Any,
    ) -> None:
        """Makes a topic where there is none."""
        settings = {**(config or {}), **({"cleanup.policy": "compact"} if compacting else {})}
        admin: AdminClient = self.transport.runtime.admin
        wanted = NewTopic(topic, partitions, replication, config=settings)

        def make() -> None:
            try:
                admin.create_topics([wanted])[topic].result(30.0)
            except KafkaException as exception:
                if error_of(exception).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

        await in_thread(lambda: retry(make))

    def send_soon(self, fut: Any) -> None:
        """Adds the message to the open checkpoint, now: later it could be another one."""
        message = fut.message
        channel = message.channel
        topic = channel if isinstance(channel, str) else channel.get_topic_name()
        headers = message.headers.items() if isinstance(message.headers, Mapping) else message.headers
        self.transport.runtime.emit(Output(topic, message.key, message.value, message.partition, list(headers or ())))
        fut.set_result(_metadata(topic, message.partition))

    async def flush(self) -> None:
        """Nothing: what was sent belongs to the open checkpoint."""

    def supports_headers(self) -> bool:
        """Yes."""
        return True


class TransactionManager(FaustTransactionManager):
    """Has everything that an agent sends join the checkpoint."""

    transport: "Transport"

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,  # noqa: ARG002 - LogAppendTime decides
        headers: Any,
        *,
        transactional_id: str | None = None,  # noqa: ARG002 - there is one
    ) -> Awaitable[RecordMetadata]:
        """Adds a record to the open checkpoint. The future is done at once; the record is visible with the commit."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
        self.transport.runtime.emit(Output(topic, key, value, partition, pairs))
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        sent.set_result(_metadata(topic, partition))
        return sent

    async def send_and_wait(self, topic: str, key: Any, value: Any, *args: Any, **kwargs: Any) -> RecordMetadata:
        """As `send`."""
        return await (await self.send(topic, key, value, *args, **kwargs))

    async def commit(self, offsets: Any, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """A checkpoint."""
        return await self.transport.runtime.checkpointer.checkpoint()

    async def flush(self) -> None:
        """Nothing: what was sent belongs to the open checkpoint."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Nothing: the consumer has seen to it."""

    async def on_rebalance(self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP]) -> None:
        """Nothing: the consumer has seen to it."""


def _metadata(topic: str, partition: int | None) -> RecordMetadata:
    at = -1 if partition is None else partition
    return RecordMetadata(topic, at, TP(topic, at), -1, None, None)


class Transport(base.Transport):
    """Faust's way to the broker."""

    Consumer = Consumer
    Producer = Producer
    TransactionManager = TransactionManager
    default_port = 9092
    driver_version = f"confluent-kafka={confluent_kafka.__version__}"

    def __init__(self, runtime: RuntimeCore, app: Any, **kwargs: Any) -> None:
        super().__init__([], app, **kwargs)
        self.runtime = runtime
