"""A limit shared by workers is never exceeded, whatever they do, and hardly lost while all of them send."""

from bisect import bisect_left
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from senders.shaping.gcra import AHEAD_US, SECOND_US, PacedLimit, grant
from senders.shaping.permits import ClockReading, PermitBook, ServerClock
from senders.shaping.quantities import SendRate

RATES = st.sampled_from([SendRate(n, 1) for n in (1, 7, 10, 50, 64, 99, 100, 333, 1000)] + [SendRate(90, 60)])
DELAYS = st.integers(0, 80_000)
T0 = 1_800_000_000 * SECOND_US


class SimulatedWorkers:
    """Workers that share a row, on a clock of their own making; each step is one of them at a random moment."""

    def __init__(self, limit: PacedLimit, count: int) -> None:
        self.limit = limit
        self.arrival_us = 0
        self.books = [PermitBook(limit) for _ in range(count)]
        self.used_us: list[int] = []

    def step(self, worker: int, now_us: int, error_us: int, waiting: int) -> None:
        """A worker uses what it may, then asks for more. It knows the clock to within `error_us`."""
        book, reading = self.books[worker], ClockReading(now_us - error_us // 2, now_us + error_us // 2)
        while waiting and book.use(reading):
            self.used_us.append(now_us)
            waiting -= 1
        if wanted := book.wanted(reading, waiting):
            granted, self.arrival_us = grant(self.limit, self.arrival_us, now_us, wanted)
            if granted is None:
                book.spent(self.arrival_us - AHEAD_US - self.limit.tolerance_us)
            else:
                book.add(granted, reading)


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


@given(RATES, RATES, st.integers(0, 7200))
def test_a_clock_set_back_or_a_slower_limit_before_holds_nothing_up(
    before: SendRate, rate: SendRate, back_s: int
) -> None:
    earlier, limit = PacedLimit.of("l", before), PacedLimit.of("l", rate)
    _, arrival_us = grant(earlier, 0, T0, earlier.per_grant)
    now_us = T0 - back_s * SECOND_US

    granted, arrival_us = grant(limit, arrival_us, now_us, 1)
    if granted is None:
        wait_us = arrival_us - AHEAD_US - now_us
        assert 0 < wait_us <= limit.per_grant * limit.interval_us
        assert grant(limit, arrival_us, now_us + wait_us, 1)[0] is not None


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
