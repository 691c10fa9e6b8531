"""The core over a journal: what a worker that nothing ever happened to would have written, byte for byte.

Records in the order that the journal gives, each at its append time or the clock before it, whichever is later; timers
due before that first; at a segment's end, where the clock is later than its last record, all timers due by then.
Where a segment brings other schedules or dates, everybody is planned as of the clock before it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas import zones
from schemas.journal import AppliedRange, Checkpoint
from streams.decisions.evaluate import Decider, InputRecord, StepResult
from streams.runtime.checkpoint import Output
from streams.runtime.timers import TimerIndex

EPOCH = datetime.fromtimestamp(0, UTC)


class Appended(NamedTuple):
    """An input record as the broker keeps it."""

    key: bytes | None
    value: bytes | None
    appended_ms: int


Inputs = Mapping[str, Mapping[int, Appended]]
"""A partition's input records, by topic and offset."""


class Replay:
    """One partition, of `partitions`. `written` and `states` hold what comes of it."""

    def __init__(self, partition: int, partitions: int, inputs: Inputs) -> None:
        self.written: list[Output] = []
        self.states: dict[bytes, bytes] = {}
        self._partition = partition
        self._partitions = partitions
        self._inputs = inputs
        self._timers = TimerIndex()
        self._clock_ms = -1
        self._planned = ""
        self.other_zones: set[str] = set()
        """Releases of the zone data, other than this one's, by which some of it was decided."""

    def follow(self, checkpoint: Checkpoint, decider: Decider) -> None:
        """Applies one record of the journal, with the rules and switches that it names. What a topic has not kept is
        passed over."""
        if checkpoint.zones not in ("", zones.VERSION):
            self.other_zones.add(checkpoint.zones)
        if decider.plan_version != self._planned:
            self._plan(decider)
        for span in checkpoint.applied:
            records = self._inputs.get(span.topic, {})
            for offset in range(span.first, span.last + 1):
                if (appended := records.get(offset)) is not None:
                    self._apply(decider, appended, span, offset)
        clock_ms = (checkpoint.clock - EPOCH) // timedelta(milliseconds=1)
        if clock_ms > self._clock_ms:
            self._fire(decider, clock_ms)
            self._clock_ms = clock_ms

    def _plan(self, decider: Decider) -> None:
        self._planned = decider.plan_version
        for key, raw in [*self.states.items()] if decider.plan_version else ():
            step = decider.plan(self._partition, key.decode(), raw, self._clock_ms)
            if step is not None:
                self._keep(step)

    def _apply(self, decider: Decider, appended: Appended, span: AppliedRange, offset: int) -> None:
        now_ms = max(appended.appended_ms, self._clock_ms)
        if now_ms > self._clock_ms:
            self._fire(decider, now_ms - 1)
            self._clock_ms = now_ms
        record = InputRecord(span.topic, span.partition, offset, appended.key, appended.value)
        state = None if record.key is None else self.states.get(record.key)
        self._keep(decider.apply(record, self._partitions, state, now_ms))

    def _fire(self, decider: Decider, now_ms: int) -> None:
        while (key := self._timers.pop_due(now_ms)) is not None:
            self._keep(decider.fire_due(self._partition, key.decode(), self.states[key], now_ms))

    def _keep(self, step: StepResult) -> None:
        if step.state is not None:
            self.states[step.key] = step.state
            self._timers.set(step.key, step.next_due_ms)
        elif step.removed:
            self.states.pop(step.key, None)
            self._timers.set(step.key, None)
        self.written += step.outgoing
