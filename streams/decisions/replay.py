"""Replays a journal with the trigger core: returns byte for byte what an undisturbed worker would have written.

Records are applied in the journal's order, each at its append time or at the clock before it, whichever is later.
Timers that are due before a record fire first. At the end of a segment whose clock is later than its last record, all
timers due by then fire. If a segment has other schedules, dates or texts that occurrences follow, all users are planned
as of the clock before it.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas import zones
from schemas.journal import AppliedRange, Checkpoint
from schemas.topics import BROADCASTS
from streams.decisions.broadcasts import BroadcastReader
from streams.decisions.evaluate import Decider
from streams.decisions.update import InputRecord, Update
from streams.runtime.checkpoint import Output
from streams.runtime.timers import TimerIndex

EPOCH = datetime.fromtimestamp(0, UTC)


class Appended(NamedTuple):
    """An input record as the broker stores it."""

    key: bytes | None
    value: bytes | None
    appended_ms: int


Inputs = Mapping[str, Mapping[int, Appended]]
"""A partition's input records, by topic and offset."""


Observer = Callable[[InputRecord | None, int, Update], None]
"""Gets each record that was applied, or None for a timer or a plan, with the clock and what it brought."""


class Replay:
    """Replays one of `partitions` partitions. `written` and `states` hold the results.

    With `only`, the records of other keys move nothing but the clock: users do not affect each other.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        inputs: Inputs,
        only: bytes | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.written: list[Output] = []
        self.states: dict[bytes, bytes] = {}
        self._partition = partition
        self._partitions = partitions
        self._inputs = inputs
        self._only = only
        self._observer = observer
        self._cause: InputRecord | None = None
        """The record that is being applied; None for timers and plans."""
        self._timers = TimerIndex()
        self._broadcasts: dict[Decider, BroadcastReader] = {}
        """The reader of broadcasts under the rules of the last one."""
        self._clock_ms = -1
        self._planned = ""
        self.other_zones: set[str] = set()
        """Other releases of the zone data than the current one, by which some records were decided."""

    def apply(self, checkpoint: Checkpoint, decider: Decider) -> None:
        """Applies one record of the journal with the rules and switches that it names.

        Skips input records that their topic no longer has.
        """
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
        self._planned, self._cause = decider.plan_version, None
        for key, raw in [*self.states.items()] if decider.plan_version else ():
            update = decider.plan(self._partition, key.decode(), raw, self._clock_ms)
            if update is not None:
                self._store(update, self._clock_ms)

    def _apply(self, decider: Decider, appended: Appended, span: AppliedRange, offset: int) -> None:
        now_ms = max(appended.appended_ms, self._clock_ms)
        if now_ms > self._clock_ms:
            self._fire(decider, now_ms - 1)
            self._clock_ms = now_ms
        if self._only is not None and appended.key not in (None, self._only):
            return
        self._cause = record = InputRecord(span.topic, span.partition, offset, appended.key, appended.value)
        if record.topic == BROADCASTS.name:
            for update in self._reader(decider).updates(record, now_ms):
                self._store(update, now_ms)
            return
        state = None if record.key is None else self.states.get(record.key)
        self._store(decider.apply(record, self._partitions, state, now_ms), now_ms)

    def _reader(self, decider: Decider) -> BroadcastReader:
        if decider not in self._broadcasts:
            self._broadcasts = {decider: BroadcastReader(decider, self.states)}
        return self._broadcasts[decider]

    def _fire(self, decider: Decider, now_ms: int) -> None:
        self._cause = None
        while (entry := self._timers.pop_due(now_ms)) is not None:
            due_ms, key = entry
            self._store(decider.fire_due(self._partition, key.decode(), self.states[key], due_ms, now_ms), now_ms)

    def _store(self, update: Update, now_ms: int) -> None:
        if update.state is not None:
            self.states[update.key] = update.state
            self._timers.set(update.key, update.next_due_ms)
        elif update.removed:
            self.states.pop(update.key, None)
            self._timers.set(update.key, None)
        if update.running is not None:
            for reader in self._broadcasts.values():
                reader.waiting.note(update.key, update.running)
        self.written += update.outgoing
        if self._observer is not None:
            self._observer(self._cause, now_ms, update)
