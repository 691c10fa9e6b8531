"""The core over a journal: what one process that nothing ever happened to would have written, byte for byte."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from slow_model.timeline import Versions, Wire, ms

from streams.checkpoint import Output
from streams.evaluate import Decider, Record, Step
from streams.timers import TimerIndex

Deciders = Callable[[Versions], Decider]


class CoreReplay:
    """One partition, as the journal tells it. `written` and `states` hold what comes of it."""

    def __init__(self, partition: int, deciders: Deciders, inputs: Mapping[str, Iterable[Wire]]) -> None:
        self._partition = partition
        self._deciders = deciders
        self._inputs = {topic: {record.offset: record for record in records} for topic, records in inputs.items()}
        self._timers = TimerIndex()
        self._clock_ms = -1
        self.written: list[Output] = []
        self.states: dict[bytes, bytes] = {}

    def segment(self, entry: dict[str, Any]) -> None:
        """Applies one segment of the journal."""
        decider = self._deciders(Versions(entry["manifest"], entry["control"]))
        for run in entry["applied"]:
            for offset in range(run["first"], run["last"] + 1):
                record = self._inputs[run["topic"]].get(offset)
                if record is not None:
                    self._record(decider, record)
        clock_ms = ms(entry["clock"])
        if clock_ms > self._clock_ms:
            self._fire(decider, clock_ms)
            self._clock_ms = clock_ms

    def _record(self, decider: Decider, wire: Wire) -> None:
        now_ms = max(wire.append_ms, self._clock_ms)
        if now_ms > self._clock_ms:
            self._fire(decider, now_ms - 1)
            self._clock_ms = now_ms
        record = Record(wire.topic, wire.partition, wire.offset, wire.key, wire.value)
        state = None if wire.key is None else self.states.get(wire.key)
        self._keep(decider.apply(record, state, now_ms))

    def _fire(self, decider: Decider, now_ms: int) -> None:
        while (key := self._timers.pop_due(now_ms)) is not None:
            self._keep(decider.fire_due(self._partition, key.decode(), self.states[key], now_ms))

    def _keep(self, step: Step) -> None:
        if step.state is not None:
            self.states[step.key] = step.state
            self._timers.set(step.key, step.next_due_ms)
        self.written += step.outgoing
