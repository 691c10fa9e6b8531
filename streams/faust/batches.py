"""Batches as Faust sees them: one event carries a batch of records of one partition, applied by a synchronous call.

No await comes between a change and its ack: `BatchProcessor` is a plain function that changes state, sends, fires
timers and records the offsets. Ordinary agents (`async for` over the records of another topic) pass the same gate.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import faust
from confluent_kafka import Message
from faust.exceptions import Skip
from faust.types import TP

from infra.kafka.topics import TopicPartition
from streams.runtime.checkpoint import Buffer, OffsetMetadata, OffsetRange
from streams.runtime.clock import Batch
from streams.runtime.gate import EventGate


class Processor(Protocol):
    """What an application does with its partitions. All methods are synchronous: none may block or await."""

    def ready(self, versions: Mapping[str, int]) -> bool:
        """Whether the processor has what it needs, in no older version than was applied before. The runtime applies
        nothing until this returns True."""

    def loaded(self, partition: int, metadata: OffsetMetadata) -> None:
        """The partition's tables are loaded. `metadata` holds its last clock and versions."""

    def dropped(self) -> None:
        """All partitions and their tables are dropped."""

    def before_batch(self, partition: int, clock_ms: int) -> int:
        """Called before each batch with the partition's clock: applies a change of rules.

        Returns for how many users it did something.
        """

    def record_handler(self, partition: int, topic: str) -> Callable[[Message, int], None]:
        """Returns the function that applies one record of this input at its append time, in milliseconds. Called once
        for each piece of a batch. If the function raises, it must have changed nothing."""

    def failed(self, partition: int, record: Message, error: Exception, now_ms: int) -> None:
        """The record handler raised: writes a dead letter and continues. An exception here ends the process."""

    def fire(self, partition: int, now_ms: int) -> int:
        """Fires all timers due by `now_ms`, in order of (due, id); returns how many."""

    def versions(self) -> Mapping[str, int]:
        """The version numbers in force, such as that of the rule manifest. Called once a batch."""


class BatchProcessor:
    """Applies batches: each record at its append time, after the timers due before it and before those due then."""

    def __init__(self, processor: Processor, buffer: Buffer) -> None:
        self._processor = processor
        self._buffer = buffer
        self._clocks: dict[int, int] = {}

    def ready(self, versions: Mapping[str, int]) -> bool:
        """Whether the processor is ready."""
        return self._processor.ready(versions)

    def loaded(self, partition: int, metadata: OffsetMetadata) -> None:
        """The partition continues from `metadata`."""
        self._clocks[partition] = metadata.clock_ms
        self._processor.loaded(partition, metadata)

    def dropped(self) -> None:
        """All partitions are dropped."""
        self._clocks.clear()
        self._processor.dropped()

    def __call__(self, batch: Batch[Message]) -> None:
        """Applies all of `batch` and records it in the open checkpoint."""
        versions = self._processor.versions()
        self.record(batch, self.work(batch), versions)

    def work(self, batch: Batch[Message]) -> int:
        """Applies records and timers; returns how many timers fired or were planned for new rules.

        Call `record` directly afterwards.
        """
        partition, processor = batch.partition, self._processor
        clock_ms = self._clocks[partition]
        fired = processor.before_batch(partition, clock_ms)
        for piece in batch.pieces:
            apply = processor.record_handler(partition, piece.topic)
            for record, now_ms in zip(piece.records, piece.times_ms, strict=True):
                if now_ms > clock_ms:
                    fired += processor.fire(partition, now_ms - 1)
                    clock_ms = now_ms
                try:
                    apply(record, now_ms)
                except Exception as error:  # noqa: BLE001 - a poison record must not stop its partition
                    processor.failed(partition, record, error, now_ms)
        if batch.is_tick:
            fired += processor.fire(partition, batch.clock_ms)
        self._clocks[partition] = batch.clock_ms
        return fired

    def record(self, batch: Batch[Message], fired: int, versions: Mapping[str, int]) -> None:
        """Records the batch's offsets and clock in the checkpoint that contains its effects."""
        applied = [OffsetRange(p.topic, _offset(p.records[0]), _offset(p.records[-1])) for p in batch.pieces]
        self._buffer.applied(batch, applied, fired > 0, versions)


def _offset(record: Message) -> int:
    offset = record.offset()
    assert offset is not None
    return offset


class PassThrough(faust.Schema[Any, Any]):
    """Passes a message's value through unchanged, because it is a batch already."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Any]]:
        """The decoder of one message."""
        make = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust's signature
            return make(message.key, message.value, message.headers, message)

        return decode


class GatedStream(faust.Stream[Any]):
    """A Faust stream whose events pass the gate of the checkpoint. Set with `faust.App(..., Stream=...)`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        app: Any = self.app
        self.gate: EventGate = app.runtime.checkpointer.gate
        self.add_processor(self._pass_gate)

    async def _pass_gate(self, value: Any) -> Any:
        event = self.current_event
        message = getattr(event, "message", None)
        if message is None or not message.tracked:  # from a channel in memory: no offset, so no checkpoint
            return value
        await self.gate.enter(message)
        app = self.app
        outdated = not app.flow_control.is_active() or message.generation_id != app.consumer_generation_id
        if outdated and not self.gate.has_begun(message):
            raise Skip  # its partition was revoked meanwhile; the new owner reads it again
        self.gate.begin(message)
        return value


class AckSensor(faust.Sensor):
    """Receives from Faust, through the public sensor interface, which events are finished."""

    def __init__(
        self, app: faust.App, gate: EventGate, buffer: Buffer, release: Callable[[TopicPartition, int], None]
    ) -> None:
        super().__init__()
        self._app = app
        self._gate = gate
        self._buffer = buffer
        self._release = release

    def on_message_out(self, tp: TP, offset: int, message: Any) -> None:
        """All agents have finished or skipped the message."""
        begun = self._gate.finish(message)
        if message.generation_id != self._app.consumer_generation_id:
            consumer: Any = self._app.consumer
            consumer.forget_ack(tp, offset)
            return
        if not begun:
            return
        if isinstance(message.value, Batch):  # the processor has recorded its offsets
            for piece in message.value.pieces:
                self._release(TopicPartition(piece.topic, message.value.partition), len(piece.records))
        else:
            self._buffer.acked(TopicPartition(*tp), offset)
            self._release(TopicPartition(*tp), 1)
