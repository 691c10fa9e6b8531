"""The partition clock under any order of arrivals and answers."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.runtime.clock import Batch, PartitionClock

TOPICS = ("profiles", "outcomes", "events")


@dataclass(frozen=True)
class BrokerRecord:
    """A record of a simulated broker: appended at `at_ms`, offsets with gaps as control records leave them."""

    topic: str
    offset: int
    at_ms: int


@st.composite
def logs(draw: st.DrawFn) -> list[BrokerRecord]:
    """What is appended, in real order: times never fall, offsets rise by topic."""
    offsets, at_ms, entries = dict.fromkeys(TOPICS, 0), 1_000, []
    for _ in range(draw(st.integers(0, 40))):
        topic = draw(st.sampled_from(TOPICS))
        at_ms += draw(st.integers(0, 3))
        offsets[topic] += draw(st.integers(0, 2))
        entries.append(BrokerRecord(topic, offsets[topic], at_ms))
        offsets[topic] += 1
    return entries


class ClockWorld:
    """A broker and a reader whose arrivals and answers come in any order that can be."""

    def __init__(self, log: list[BrokerRecord], data: st.DataObject) -> None:
        self.log, self.data = log, data
        self.appended = 0
        self.delivered = dict.fromkeys(TOPICS, 0)
        self.clock: PartitionClock[BrokerRecord] = PartitionClock(3, dict.fromkeys(TOPICS, 0))
        self.requests: list[tuple[object, dict[str, int]]] = []
        self.runs: list[Batch[BrokerRecord]] = []

    @property
    def now_ms(self) -> int:
        return self.log[self.appended - 1].at_ms + 1 if self.appended else 900

    def step(self) -> None:
        action = self.data.draw(st.sampled_from(["append", "deliver", "ask", "answer", "take"]))
        getattr(self, action)()

    def append(self) -> None:
        self.appended = min(len(self.log), self.appended + self.data.draw(st.integers(1, 5)))

    def deliver(self) -> None:
        topic = self.data.draw(st.sampled_from(TOPICS))
        waiting = self._of(topic)[self.delivered[topic] :]
        count = self.data.draw(st.integers(0, len(waiting)))
        part = waiting[:count]
        self.delivered[topic] += count
        end = part[-1].offset + 1 if part else 0
        if count == len(waiting):
            end = self._end(topic)  # the end of a partition is told too, behind gaps
        self.clock.push(topic, list(part), [e.at_ms for e in part], end)

    def ask(self) -> None:
        question = self.clock.end_query(self.now_ms)
        if question is not None:
            self.requests.append((question, {topic: self._end(topic) for topic in question.topics}))

    def answer(self) -> None:
        if self.requests:
            question, ends = self.requests.pop(0)
            known = {t: end for t, end in ends.items() if self.data.draw(st.integers(0, 9)) > 0}
            self.clock.receive_ends(question, known)  # type: ignore[arg-type]

    def take(self) -> None:
        run = self.clock.take(self.data.draw(st.integers(1, 10)))
        if run is not None:
            self.runs.append(run)

    def finish(self) -> None:
        self.appended = len(self.log)
        for _ in range(4 * len(self.log) + 8):
            for topic in TOPICS:
                rest = self._of(topic)[self.delivered[topic] :]
                self.delivered[topic] += len(rest)
                self.clock.push(topic, list(rest), [e.at_ms for e in rest], self._end(topic))
            question = self.clock.end_query(self.now_ms)
            if question is not None:
                self.clock.receive_ends(question, {topic: self._end(topic) for topic in question.topics})
            run = self.clock.take(100)
            if run is not None:
                self.runs.append(run)

    def _of(self, topic: str) -> list[BrokerRecord]:
        return [e for e in self.log[: self.appended] if e.topic == topic]

    def _end(self, topic: str) -> int:
        entries = self._of(topic)
        return entries[-1].offset + 1 if entries else 0

    def applied(self) -> list[tuple[BrokerRecord, int]]:
        return [
            pair
            for run in self.runs
            for piece in run.pieces
            for pair in zip(piece.records, piece.times_ms, strict=True)
        ]


@settings(max_examples=60, deadline=None)
@given(logs(), st.data())
def test_every_record_is_applied_once_in_the_order_of_its_input(log: list[BrokerRecord], data: st.DataObject) -> None:
    world = ClockWorld(log, data)
    for _ in range(data.draw(st.integers(0, 60))):
        world.step()
    world.finish()
    for topic in TOPICS:
        assert [e for e, _ in world.applied() if e.topic == topic] == [e for e in log if e.topic == topic]


@settings(max_examples=60, deadline=None)
@given(logs(), st.data())
def test_records_are_applied_in_the_order_of_their_append_times(log: list[BrokerRecord], data: st.DataObject) -> None:
    """The broker's own clock is all that is compared, so whatever the reader's speed the order is the log's."""
    world = ClockWorld(log, data)
    for _ in range(data.draw(st.integers(0, 60))):
        world.step()
    world.finish()
    times = [e.at_ms for e, _ in world.applied()]
    assert times == sorted(times)


@settings(max_examples=60, deadline=None)
@given(logs(), st.data())
def test_the_clock_never_goes_back_and_is_the_append_time_of_what_is_applied(
    log: list[BrokerRecord], data: st.DataObject
) -> None:
    world = ClockWorld(log, data)
    for _ in range(data.draw(st.integers(0, 60))):
        world.step()
    world.finish()
    clocks: list[int] = []
    for run in world.runs:
        clocks += [at for piece in run.pieces for at in piece.times_ms] or [run.clock_ms]
    assert clocks == sorted(clocks)
    assert all(at == e.at_ms for e, at in world.applied())
    assert [run.number for run in world.runs] == list(range(1, len(world.runs) + 1))


@settings(max_examples=60, deadline=None)
@given(logs(), st.data())
def test_a_tick_comes_after_all_appended_records(log: list[BrokerRecord], data: st.DataObject) -> None:
    world = ClockWorld(log, data)
    for _ in range(data.draw(st.integers(0, 60))):
        world.step()
    world.finish()
    done = 0
    for run in world.runs:
        done += len(run)
        if run.is_tick:
            assert all(e.at_ms > run.clock_ms for e in log[done:])


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(0, 40))
def test_an_append_time_that_falls_never_moves_the_clock_back(times: list[int], clock_ms: int) -> None:
    clock: PartitionClock[int] = PartitionClock(0, {"events": 0}, clock_ms)
    clock.push("events", list(range(len(times))), list(times), len(times))
    run = clock.take(1_000)
    assert run is not None
    applied = [at for piece in run.pieces for at in piece.times_ms]
    assert applied == sorted(applied)
    assert applied[0] >= clock_ms
    assert all(at >= time for at, time in zip(applied, times, strict=True))


def test_a_record_that_counts_for_many_makes_batches_small_and_is_taken_alone_if_it_counts_for_more() -> None:
    clock: PartitionClock[int] = PartitionClock(0, {"broadcasts": 0}, weights={"broadcasts": 10})
    clock.push("broadcasts", [*range(8)], [5] * 8, 8)
    batches = [clock.take(limit) for limit in (30, 39, 4, 1_000)]
    assert [len(batch) for batch in batches if batch is not None] == [3, 4, 1]
    assert clock.lag({"broadcasts": 9}, 6) == 3
