"""Batches as Faust sees them: one event carries a batch of records of one partition, applied by a synchronous step.

No await comes between a change and its ack: `BatchStep` is a plain function, which changes state, sends, fires timers
and records the offsets in one go. Ordinary agents (`async for` a record of another topic) pass the same gate.
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
from streams.runtime.gate import Gate


class Steps(Protocol):
    """What an application does with its partitions. All synchronous: nothing here may wait for anything."""

    def ready(self, versions: Mapping[str, int]) -> bool:
        """Whether what is needed to decide is here, in no older version than was applied before. Else it is waited
        for, before anything is applied."""

    def loaded(self, partition: int, mark: OffsetMetadata) -> None:
        """The partition's tables are loaded; its clock and versions were those of `mark`."""

    def dropped(self) -> None:
        """All partitions are gone, and their tables with them."""

    def begins(self, partition: int, clock_ms: int) -> int:
        """A batch begins while the partition's clock stands here: does what other rules ask for, before any record;
        returns to how many users something was done."""

    def reading(self, partition: int, topic: str) -> Callable[[Message, int], None]:
        """What applies one record of this input at its append time, in milliseconds; asked once a piece of a batch.
        What it raises must have changed nothing."""

    def failed(self, partition: int, record: Message, error: Exception, now_ms: int) -> None:
        """`reading` raised: puts the record aside, so that it stops nothing. What it raises ends the process."""

    def fire(self, partition: int, now_ms: int) -> int:
        """Fires all timers due at `now_ms` or before, in order of (due, id); returns how many."""

    def versions(self) -> Mapping[str, int]:
        """The numbers of what is being applied, such as a rule manifest; asked once a batch."""


class BatchStep:
    """Applies batches: each record at its append time, timers due before it first, those of its instant after it."""

    def __init__(self, steps: Steps, buffer: Buffer) -> None:
        self._steps = steps
        self._buffer = buffer
        self._clocks: dict[int, int] = {}

    def ready(self, versions: Mapping[str, int]) -> bool:
        """Whether the application can decide."""
        return self._steps.ready(versions)

    def loaded(self, partition: int, mark: OffsetMetadata) -> None:
        """The partition goes on from `mark`."""
        self._clocks[partition] = mark.clock_ms
        self._steps.loaded(partition, mark)

    def dropped(self) -> None:
        """All partitions are gone."""
        self._clocks.clear()
        self._steps.dropped()

    def __call__(self, batch: Batch[Message]) -> None:
        """Applies `batch` to its end and records it in the open checkpoint."""
        versions = self._steps.versions()
        self.record(batch, self.work(batch), versions)

    def work(self, batch: Batch[Message]) -> int:
        """Applies records and timers; returns how many timers fired, or were set for other rules. Nothing may come
        between this and `record`."""
        partition, steps = batch.partition, self._steps
        clock_ms = self._clocks[partition]
        fired = steps.begins(partition, clock_ms)
        for piece in batch.pieces:
            apply = steps.reading(partition, piece.topic)
            for record, now_ms in zip(piece.records, piece.times_ms, strict=True):
                if now_ms > clock_ms:
                    fired += steps.fire(partition, now_ms - 1)
                    clock_ms = now_ms
                try:
                    apply(record, now_ms)
                except Exception as error:  # noqa: BLE001 - a poison record must not stop its partition
                    steps.failed(partition, record, error, now_ms)
        if batch.is_tick:
            fired += steps.fire(partition, batch.clock_ms)
        self._clocks[partition] = batch.clock_ms
        return fired

    def record(self, batch: Batch[Message], fired: int, versions: Mapping[str, int]) -> None:
        """Puts the batch's offsets and clock into the checkpoint that holds its effects."""
        applied = [OffsetRange(p.topic, _offset(p.records[0]), _offset(p.records[-1])) for p in batch.pieces]
        self._buffer.applied(batch, applied, fired > 0, versions)


def _offset(record: Message) -> int:
    offset = record.offset()
    assert offset is not None
    return offset


class PassThrough(faust.Schema[Any, Any]):
    """Hands a message's value on as it is: it is a batch already."""

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
        self.gate: Gate = app.runtime.checkpointer.gate
        self.add_processor(self._pass_gate)

    async def _pass_gate(self, value: Any) -> Any:
        event = self.current_event
        message = getattr(event, "message", None)
        if message is None or not message.tracked:  # from a channel in memory: no offset, so no checkpoint
            return value
        await self.gate.enter(message)
        app = self.app
        gone = not app.flow_control.is_active() or message.generation_id != app.consumer_generation_id
        if gone and not self.gate.has_begun(message):
            raise Skip  # its partition went while it waited; whoever has it now reads it again
        self.gate.begin(message)
        return value


class AckSensor(faust.Sensor):
    """Hears from Faust which events are finished, by the public sensor interface."""

    def __init__(
        self, app: faust.App, gate: Gate, buffer: Buffer, release: Callable[[TopicPartition, int], None]
    ) -> None:
        super().__init__()
        self._app = app
        self._gate = gate
        self._buffer = buffer
        self._release = release

    def on_message_out(self, tp: TP, offset: int, message: Any) -> None:
        """All agents have finished with the message, or skipped it."""
        begun = self._gate.finish(message)
        if message.generation_id != self._app.consumer_generation_id:
            consumer: Any = self._app.consumer
            consumer.forget_ack(tp, offset)
            return
        if not begun:
            return
        if isinstance(message.value, Batch):  # its step has recorded its offsets
            for piece in message.value.pieces:
                self._release(TopicPartition(piece.topic, message.value.partition), len(piece.records))
        else:
            self._buffer.acked(TopicPartition(*tp), offset)
            self._release(TopicPartition(*tp), 1)
