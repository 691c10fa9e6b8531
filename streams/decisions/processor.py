"""The trigger core as a processor of the runtime: current rules, and the user states and timers of each partition."""

from collections import defaultdict
from collections.abc import Callable, Mapping

import structlog
from confluent_kafka import Message

from schemas import zones
from schemas.codec import is_in_own_partition
from schemas.plain import plain_event
from schemas.topics import BROADCASTS, EVENTS, FORGETTING
from schemas.vocabulary import DeadLetterCause
from streams.decisions.broadcasts import INDEXED_AT_ONCE, BroadcastReader
from streams.decisions.evaluate import STATES, Decider
from streams.decisions.rulefeed import PublishedRules
from streams.decisions.update import InputRecord, Update
from streams.faust.runtime import Runtime
from streams.runtime.checkpoint import OffsetMetadata
from streams.runtime.timers import TimerIndex
from triggers.engine.evaluator import PROFILE_WAIT_MS, Evaluator
from triggers.rules.encoding import due_of
from triggers.rules.events import stored_plain_event

log = structlog.get_logger()


class DecisionProcessor:
    """Decides the records of all partitions. Create it before the application starts; it belongs to its event loop."""

    def __init__(self, runtime: Runtime, default_zone: str, profile_wait_ms: int = PROFILE_WAIT_MS) -> None:
        self._emit = runtime.emit
        self._counts = runtime.buffer.counts
        self._partitions = runtime.settings.partitions
        self._default_zone = default_zone
        self._profile_wait_ms = profile_wait_ms
        self._decider: Decider | None = None
        self._versions: Mapping[str, int] = {}
        self._timers: defaultdict[int, TimerIndex] = defaultdict(TimerIndex)
        self._broadcasts: dict[int, BroadcastReader] = {}
        """By partition, once it has a broadcast under the current rules."""
        self._planned: dict[int, str] = {}
        """By partition, the plan version for which all its users have plans."""
        forgets = dict(FORGETTING)
        self._table = runtime.app.Table(STATES, partitions=self._partitions, extra_topic_configs=forgets).local

    def adopt(self, published: PublishedRules) -> None:
        """Adopts new rules or switches between two batches, unless one of their numbers is older."""
        versions = {"manifest": published.manifest, "control": published.control}
        if not _reaches(versions, self._versions):
            log.warning("rules_older", **versions, running={name: self._versions[name] for name in versions})
            return
        evaluator = Evaluator(published.rules, self._default_zone, published.paused, self._profile_wait_ms)
        self._decider = Decider(evaluator, self._counts)
        self._broadcasts.clear()
        self._versions = {**versions, "zones": zones.RELEASE}
        log.info("rules_current", **versions, triggers=len(published.rules.triggers), paused=sorted(published.paused))

    def pending(self) -> Mapping[int, int]:
        """The number of users with a pending timer, by partition."""
        return {partition: len(timers) for partition, timers in self._timers.items()}

    # The runtime's Processor.

    def ready(self, versions: Mapping[str, int]) -> bool:
        """Whether there are rules, and neither they nor the switches are older than those last applied."""
        return self._decider is not None and _reaches(self._versions, versions)

    def loaded(self, partition: int, metadata: OffsetMetadata) -> None:
        """Builds the partition's timer index.

        If the last batch was applied under the current manifest, its users are planned already. If the zone data is of
        another release, this logs a warning, and the next batch plans every user again.
        """
        held = self._table.raw(partition)
        timers = self._timers[partition] = TimerIndex()
        timers.fill((key, due) for key, raw in held.items() if (due := due_of(raw)) is not None)
        before = metadata.versions.get("zones", zones.RELEASE)
        if before != zones.RELEASE:
            log.warning("zones_changed", partition=partition, before=zones.release_name(before), now=zones.VERSION)
        elif metadata.versions.get("manifest") == self._versions["manifest"]:
            self._planned[partition] = self._current.plan_version

    def dropped(self) -> None:
        """Drops the timers, and who waits for broadcasts."""
        self._timers.clear()
        self._broadcasts.clear()
        self._planned.clear()

    def before_batch(self, partition: int, clock_ms: int) -> int:
        """Plans all users of the partition if schedules, dates or texts that occurrences follow are new, because that
        concerns inactive users too.

        This happens once for each partition and rule set, at the clock before the first batch under that set. A replay
        of the journal plans at the same place. It costs less than the first slot, which fires for every user at once.
        """
        if partition in self._broadcasts:
            self._broadcasts[partition].waiting.index(INDEXED_AT_ONCE)
        decider, planned = self._current, 0
        known, self._planned[partition] = self._planned.get(partition), decider.plan_version
        if decider.plan_version in (known, ""):
            return planned
        users = self._table.partition(partition)
        for key in [*users]:
            raw = users.get(key)
            update = None if raw is None else decider.plan(partition, key.decode(), raw, clock_ms)
            if update is not None:
                self._store(partition, update)
                planned += 1
        log.info("users_planned", partition=partition, users=planned)
        return planned

    def versions(self) -> Mapping[str, int]:
        """The numbers of the current manifest, control and zone data."""
        return self._versions

    def record_handler(self, partition: int, topic: str) -> Callable[[Message, int], None]:
        """Returns the function that decides records of one input. It changes state only after the core has returned."""
        if topic == BROADCASTS.name:
            return self._broadcast_handler(partition)
        decider = self._current
        get, store, count = self._table.partition(partition).get, self._store, self._partitions

        def read(record: Message, now_ms: int) -> None:
            key = record.key()
            state = None if key is None else get(key)
            store(partition, decider.apply(_read(record), count, state, now_ms))

        if topic != EVENTS.name:
            return read
        types, relevant_context, changed_state = decider.read_types, decider.relevant_context, decider.changed_state
        put = self._table.partition(partition).put

        def read_event(record: Message, now_ms: int) -> None:
            key, value = record.key(), record.value()
            event = plain_event(value)
            if (
                key is None
                or value is None
                or event is None
                or not is_in_own_partition(key, event.user_id, partition, count)
            ):
                read(record, now_ms)
            elif event.type in types:
                stored = stored_plain_event(event, value)
                if stored is None:
                    read(record, now_ms)
                elif (context := relevant_context(stored, now_ms)) is not None:
                    state = get(key)
                    if (changed := changed_state(context, state)) is not None:
                        put(key, changed)
                    else:
                        store(partition, decider.decide(context, event.user_id, _read(record), state, now_ms))

        return read_event

    def _broadcast_handler(self, partition: int) -> Callable[[Message, int], None]:
        users = self._table.partition(partition)
        if partition not in self._broadcasts:
            self._broadcasts[partition] = BroadcastReader(self._current, users)
        reader = self._broadcasts[partition]

        def read(record: Message, now_ms: int) -> None:
            for update in reader.updates(_read(record), now_ms):
                self._store(partition, update)

        return read

    def failed(self, partition: int, record: Message, error: Exception, now_ms: int) -> None:  # noqa: ARG002
        """Writes a dead letter."""
        read = _read(record)
        log.error("record_failed", place=read.place, exc_info=error)
        detail = f"{type(error).__name__}: {error}"
        self._emit(self._current.dead_letter(read, DeadLetterCause.RULE_ERROR, detail, now_ms))

    def fire(self, partition: int, now_ms: int) -> int:
        """Fires due timers, user by user in order of time."""
        timers, fired = self._timers[partition], 0
        while (entry := timers.pop_due(now_ms)) is not None:
            due_ms, key = entry
            raw = self._table.get(partition, key)
            if raw is not None:
                self._store(partition, self._current.fire_due(partition, key.decode(), raw, due_ms, now_ms))
                fired += 1
        return fired

    @property
    def _current(self) -> Decider:
        assert self._decider is not None
        return self._decider

    def _store(self, partition: int, update: Update) -> None:
        if update.state is not None:
            self._table.put(partition, update.key, update.state)
            self._timers[partition].set(update.key, update.next_due_ms)
        elif update.removed:
            self._table.remove(partition, update.key)
            self._timers[partition].set(update.key, None)
        if self._broadcasts and update.running is not None and partition in self._broadcasts:
            self._broadcasts[partition].waiting.note(update.key, update.running)
        for output in update.outgoing:
            self._emit(output)


def _reaches(versions: Mapping[str, int], others: Mapping[str, int]) -> bool:
    """Whether no number is below its counterpart in `others`. Zone data may be older, as after a downgrade."""
    return all(versions.get(name, 0) >= number for name, number in others.items() if name != "zones")


def _read(record: Message) -> InputRecord:
    topic, partition, offset = record.topic(), record.partition(), record.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return InputRecord(topic, partition, offset, record.key(), record.value())
