"""A limit shared by workers is never exceeded, whatever they do, and hardly lost while all of them send."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from senders.shaping.gcra import (
    AHEAD_US,
    FIRST_SPREAD_US,
    MOST_SPREAD_US,
    SECOND_US,
    LimitRow,
    PacedLimit,
    PermitRequest,
    grant,
)
from senders.shaping.permits import ClockReading, PermitBook, ServerClock
from senders.shaping.quantities import SendRate

RATES = st.sampled_from([SendRate(n, 1) for n in (1, 7, 10, 50, 64, 99, 100, 333, 1000)] + [SendRate(90, 60)])
DELAYS = st.integers(0, 80_000)
T0 = 1_800_000_000 * SECOND_US


class SimulatedWorkers:
    """Workers that share a row, on a clock of their own making; each step is one of them at a random moment."""

    def __init__(self, limit: PacedLimit, count: int) -> None:
        self.limit = limit
        self.row = LimitRow()
        self.books = [PermitBook(limit) for _ in range(count)]
        self.used_us: list[int] = []

    def step(self, worker: int, now_us: int, error_us: int, waiting: int) -> None:
        """A worker uses what it may, then asks for more. It knows the clock to within `error_us`."""
        book, reading = self.books[worker], ClockReading(now_us - error_us // 2, now_us + error_us // 2)
        while waiting and book.use(reading):
            self.used_us.append(now_us)
            waiting -= 1
        if request := book.request(reading, waiting):
            self.answer(book, request, now_us, reading)

    def answer(self, book: PermitBook, request: PermitRequest, now_us: int, reading: ClockReading) -> None:
        """The server answers, and the worker reads it."""
        row = self.row
        granted, self.row = grant(request, row, now_us)
        book.shared(self.row.spread_us, self.row.spread_until_us)
        if granted is not None:
            book.add(granted, reading)
        elif request.limit.spread_us >= row.spread_us or now_us >= row.spread_until_us:
            book.spent(row.arrival_us - request.ahead_us - self.limit.tolerance_us)


class DistantWorkers(SimulatedWorkers):
    """Workers whose answers take a time of each worker's own, of which a share is the way there."""

    def __init__(self, limit: PacedLimit, trips: Sequence[tuple[int, float]]) -> None:
        super().__init__(limit, len(trips))
        self._trips = trips
        self._asked: list[tuple[int, PermitRequest] | None] = [None] * len(trips)
        self._answers: list[tuple[int, LimitRow, PermitRequest, Any] | None] = [None] * len(trips)

    def run(self, seconds: float, tick_us: int = 4_000) -> None:
        """All of them send as much as they may, and each has one question on its way at most."""
        for now_us in range(T0, T0 + round(seconds * SECOND_US), tick_us):
            for worker in range(len(self.books)):
                self._tick(worker, now_us)

    def reading(self, worker: int, now_us: int) -> ClockReading:
        """What the worker thinks of the clock: it takes the way there for half of the time that an answer takes."""
        trip_us, there = self._trips[worker]
        middle_us = now_us + round(trip_us * (there - 0.5))
        return ClockReading(middle_us - trip_us // 2, middle_us + trip_us // 2, trip_us)

    def _tick(self, worker: int, now_us: int) -> None:
        book, reading = self.books[worker], self.reading(worker, now_us)
        trip_us, there = self._trips[worker]
        asked, answer = self._asked[worker], self._answers[worker]
        if asked is not None and now_us >= asked[0] + trip_us * there:
            request = asked[1]
            before = self.row
            granted, self.row = grant(request, before, now_us)
            answer = self._answers[worker] = now_us, before, request, granted
            self._asked[worker] = None
        if answer is not None and now_us >= answer[0] + trip_us * (1 - there):
            self._read(book, answer, reading)
            self._answers[worker] = None
        while book.use(reading):
            self.used_us.append(now_us)
        idle = self._asked[worker] is None and self._answers[worker] is None
        if idle and (wanted := book.request(reading, 100_000)) is not None:
            self._asked[worker] = now_us, wanted

    def _read(self, book: PermitBook, answer: tuple[int, LimitRow, PermitRequest, Any], reading: ClockReading) -> None:
        at_us, row, request, granted = answer
        if granted is not None:
            book.add(granted, reading)
        elif request.limit.spread_us < row.spread_us and at_us < row.spread_until_us:
            book.shared(row.spread_us, row.spread_until_us)
        else:
            book.spent(row.arrival_us - request.ahead_us - self.limit.tolerance_us)


def most_within(times_us: Sequence[int], window_us: int) -> int:
    """The most of these sorted times in any window, which has its beginning and not its end."""
    return max((bisect_left(times_us, at + window_us) - number for number, at in enumerate(times_us)), default=0)


STEPS = st.lists(
    st.tuples(st.integers(0, 2), DELAYS, st.integers(0, 4_000), st.integers(0, 200)), min_size=50, max_size=400
)


@given(RATES, STEPS)
def test_no_second_and_no_minute_sees_more_than_the_limit_allows(
    rate: SendRate, steps: list[tuple[int, int, int, int]]
) -> None:
    workers = SimulatedWorkers(PacedLimit.of("l", rate), 3)
    now_us = T0
    for worker, delay_us, error_us, waiting in steps:
        now_us += delay_us
        workers.step(worker, now_us, error_us, waiting)

    per_second = rate.count / rate.period_s
    assert most_within(workers.used_us, SECOND_US) <= per_second + max(1.0, 0.02 * per_second)
    assert most_within(workers.used_us, 60 * SECOND_US) <= per_second * 60


@given(RATES, st.integers(2, 9), STEPS)
def test_a_burst_adds_no_more_than_itself(rate: SendRate, burst: int, steps: list[tuple[int, int, int, int]]) -> None:
    rate = SendRate(rate.count, rate.period_s, min(burst, rate.count))
    workers = SimulatedWorkers(PacedLimit.of("l", rate), 3)
    now_us = T0
    for worker, delay_us, error_us, waiting in steps:
        now_us += delay_us
        workers.step(worker, now_us, error_us, waiting)

    assert most_within(workers.used_us, rate.period_s * SECOND_US) <= rate.count * 1.02 + 1 + rate.burst - 1


@given(RATES, st.integers(1, 4), st.integers(500, 3_000))
def test_busy_workers_use_98_per_cent_of_the_limit(rate: SendRate, count: int, tick_us: int) -> None:
    limit = PacedLimit.of("l", rate)
    workers = SimulatedWorkers(limit, count)
    seconds = max(4, 8 * rate.period_s // rate.count)
    for tick in range(seconds * SECOND_US // tick_us):
        for worker in range(count):
            workers.step(worker, T0 + tick * tick_us, 0, 1_000)

    assert len(workers.used_us) >= 0.98 * seconds * rate.count / rate.period_s - 1


@pytest.mark.parametrize(
    "trips_s", [[0.02], [0.3, 0.3], [1.0, 1.0, 1.0], [0.0, 0.04, 0.9], [2.0]], ids=lambda trips_s: f"{trips_s}"
)
@pytest.mark.parametrize("rate", [SendRate(7, 1), SendRate(100, 1)], ids=str)
def test_workers_far_from_the_server_use_the_limit_and_no_second_sees_more(
    rate: SendRate, trips_s: list[float]
) -> None:
    trips = [(round(trip_s * SECOND_US), 0.5) for trip_s in trips_s]
    workers = DistantWorkers(PacedLimit.of("l", rate), trips)
    workers.run(20)

    assert most_within(workers.used_us, SECOND_US) <= rate.count + max(1.0, 0.02 * rate.count)
    settled = [at for at in workers.used_us if at >= T0 + 8 * SECOND_US]
    widest_us = max(workers.limit.spread_for(trip_us) for trip_us, _ in trips)
    assert len(settled) >= 12 * rate.count * 0.98 / (1 + widest_us / (60 * SECOND_US)) - 2


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    st.sampled_from([SendRate(n, 1) for n in (7, 50)]),
    st.lists(st.tuples(st.integers(0, 2_500_000), st.floats(0, 1)), min_size=2, max_size=3),
)
@example(SendRate(50, 1), [(1_000_000, 0.0), (1_000_000, 1.0)])
def test_no_minute_sees_more_however_unequal_the_ways_to_the_server_are(
    rate: SendRate, trips: list[tuple[int, float]]
) -> None:
    workers = DistantWorkers(PacedLimit.of("l", rate), trips)
    workers.run(64, tick_us=20_000)

    assert most_within(workers.used_us, 60 * SECOND_US) <= rate.count * 60


@given(
    st.lists(st.tuples(st.integers(0, 70_000_000), st.integers(0, 8_000_000)), min_size=2, max_size=40),
    st.sampled_from([SendRate(7, 1), SendRate(100, 1), SendRate(90, 60)]),
)
def test_no_permit_is_granted_twice_however_the_round_trips_change(asks: list[tuple[int, int]], rate: SendRate) -> None:
    limit, row, now_us, ends_us = PacedLimit.of("l", rate), LimitRow(), T0, 0
    for pause_us, trip_us in asks:
        now_us += pause_us
        for _ in range(3):
            own_us = limit.spread_for(trip_us)
            kept_us = row.spread_us if now_us < row.spread_until_us else 0
            asked = limit.widened(max(own_us, kept_us))
            granted, row = grant(PermitRequest(asked, asked.per_grant(own_us), own_us), row, now_us)
            if granted is not None:
                assert granted.start_us >= ends_us
                ends_us = granted.times_us[-1] + granted.interval_us


def test_a_slow_worker_gets_its_share_beside_fast_ones() -> None:
    workers = DistantWorkers(PacedLimit.of("l", SendRate(100, 1)), [(1_000, 0.5), (1_000, 0.5), (1_000_000, 0.5)])
    workers.run(20)

    used = [book.counts.used for book in workers.books]
    assert min(used) >= 0.1 * sum(used)


@given(st.integers(0, 10_000_000), RATES)
def test_a_spread_covers_the_round_trip_in_steps(trip_us: int, rate: SendRate) -> None:
    limit = PacedLimit.of("l", rate)
    spread_us = limit.spread_for(trip_us)

    assert spread_us <= MOST_SPREAD_US
    assert spread_us >= min(trip_us, MOST_SPREAD_US) or 2 * trip_us <= limit.late_us
    assert spread_us <= max(2 * trip_us, FIRST_SPREAD_US)


@given(RATES, RATES, st.integers(0, 7200))
def test_a_clock_set_back_or_a_slower_limit_before_holds_nothing_up(
    before: SendRate, rate: SendRate, back_s: int
) -> None:
    earlier, limit = PacedLimit.of("l", before), PacedLimit.of("l", rate)
    _, row = grant(PermitRequest(earlier, earlier.per_grant()), LimitRow(), T0)
    now_us = T0 - back_s * SECOND_US

    granted, row = grant(PermitRequest(limit, 1), row, now_us)
    if granted is None:
        wait_us = row.arrival_us - AHEAD_US - now_us
        assert 0 < wait_us <= limit.per_grant() * limit.interval_us
        assert grant(PermitRequest(limit, 1), row, now_us + wait_us)[0] is not None


@given(
    st.lists(st.tuples(st.integers(1, 10**7), st.integers(0, 30_000), st.integers(0, 100)), min_size=1),
    st.integers(-(10**9), 10**9),
    st.integers(-50, 50),
)
def test_the_servers_clock_is_within_what_is_said_of_it(
    answers: list[tuple[int, int, int]], ahead_us: int, drift_ppm: int
) -> None:
    clock, ours_us = ServerClock(), T0

    def server_us(at_us: float) -> float:
        return at_us + ahead_us + (at_us - T0) * drift_ppm * 1e-6

    for pause_us, round_trip_us, share in answers:
        sent_us = ours_us = ours_us + pause_us
        ours_us += round_trip_us
        clock.observe(sent_us, ours_us, int(server_us(sent_us + round_trip_us * share / 100)))
        later_us = ours_us + 1000
        reading = clock.reading(later_us)
        assert reading.earliest_us <= server_us(later_us) + 1
        assert reading.latest_us >= server_us(later_us) - 1


def test_an_answer_that_contradicts_the_clock_is_believed() -> None:
    clock = ServerClock()
    clock.observe(0, 1_000, 50_000_500)
    clock.observe(2_000_000, 2_500_000, 7_000_000)  # another server answers, and more slowly

    reading = clock.reading(2_500_000)
    assert reading.earliest_us == 7_000_000
    assert 7_500_000 <= reading.latest_us <= 7_500_100
