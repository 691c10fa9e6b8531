"""Measures a worker's partitions every two seconds: lag, rate, state, timers and clock.

It scans only a sample of each partition's state, and calls nothing of the hot path.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import islice

from infra.kafka.topics import TopicPartition
from schemas.waiting import event_within
from streams.faust.core import RuntimeCore
from streams.runtime.clock import NO_TIMESTAMP
from streams.runtime.observer import Observer

INTERVAL_S = 2.0
SAMPLE = 200
"""Entries of a partition whose size is measured: quick, and within some per cent."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One partition number. An unknown value is None."""

    partition: int
    lag: int | None
    """Records of its inputs that are not applied."""
    rate: float
    """Records applied a second, since the measurement before."""
    entries: int
    """Users, for the trigger core."""
    state_bytes: int
    """Of keys and values, estimated from a sample."""
    timers: int
    clock_lag_s: float | None
    """How far its clock is behind the time of day."""


class Gauges(Observer):
    """Measures the partitions of `runtime`. `timers` returns how many timers are pending, by partition."""

    def __init__(self, runtime: RuntimeCore, timers: Callable[[], Mapping[int, int]]) -> None:
        self._runtime = runtime
        self._timers = timers
        self._before: dict[int, int] = {}
        self._measured_s = time.monotonic()
        self._changed = asyncio.Event()
        self.now: tuple[Gauge, ...] = ()

    def recovered(self, partitions: Collection[int], took_s: float) -> None:
        """Measures at once."""
        del partitions, took_s
        self._changed.set()

    def dropped(self) -> None:
        """Forgets the partitions."""
        self.now = ()

    async def run(self, _sleep: object, should_stop: Callable[[], bool]) -> None:
        """Measures every INTERVAL_S, and at once after a recovery, until `should_stop`."""
        loop = asyncio.get_running_loop()
        while not should_stop():
            numbers = self._runtime.buffer.applied_so_far()
            places = [TopicPartition(topic, number) for topic in self._runtime.settings.inputs for number in numbers]
            ends = await loop.run_in_executor(None, self._runtime.ends.last_stable, places) if places else {}
            self.now = self.measure(ends)
            self._changed.clear()
            await event_within(self._changed, INTERVAL_S)

    def measure(self, ends: Mapping[TopicPartition, int]) -> tuple[Gauge, ...]:
        """The partitions held now, with lags up to `ends`."""
        standing = self._runtime.buffer.applied_so_far()
        applied = {number: records for number, (records, _) in standing.items()}
        lags, timers = self._runtime.inputs.lags(ends, applied), self._timers()
        now_s, elapsed_s = time.time(), time.monotonic() - self._measured_s
        found = []
        for number, (records, clock_ms) in sorted(standing.items()):
            entries, state_bytes = self._state(number)
            rate = max(0, records - self._before.get(number, records)) / elapsed_s
            clock_lag_s = None if clock_ms == NO_TIMESTAMP else max(0.0, now_s - clock_ms / 1000)
            found.append(
                Gauge(number, lags.get(number), rate, entries, state_bytes, timers.get(number, 0), clock_lag_s)
            )
        self._before, self._measured_s = applied, time.monotonic()
        return tuple(found)

    def _state(self, number: int) -> tuple[int, int]:
        entries, size = 0, 0
        for table in self._runtime.tables():
            if number in table.local:
                held = table.local.raw(number)
                looked_at = [len(k) + len(v) for k, v in islice(held.items(), SAMPLE) if isinstance(v, bytes)]
                entries += len(held)
                size += round(len(held) * sum(looked_at) / max(1, len(looked_at)))
        return entries, size
