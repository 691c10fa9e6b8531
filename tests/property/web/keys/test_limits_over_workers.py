"""A key's limit over workers that trade shares at any moments: never exceeded, and used where callers want it."""

import math
import random
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from web.keys.event_window import SLOTS, EventWindow
from web.keys.shares import KeyLimit, Share, fair_shares, next_share, whole_calls

TICKS = 128
"""Moments in a second, which a binary number tells exactly."""
RATES = st.one_of(st.integers(1, 50).map(float), st.floats(0.01, 50))


class LimitedWorker:
    """One worker: its window, and the moments at which it took events."""

    def __init__(self, name: str, limit: KeyLimit) -> None:
        self.name = name
        self.window = EventWindow(limit.window_s)
        self.joined = False
        self.taken: list[tuple[float, int]] = []

    def call(self, events: int, now_s: float) -> float:
        wait_s = self.window.take(events, now_s)
        if wait_s == 0:
            self.taken.append((now_s, events))
        return wait_s


class ShareTable:
    """The table of shares, which a crash may empty."""

    def __init__(self, limit: KeyLimit) -> None:
        self.limit = limit
        self.rows: dict[str, tuple[Share, float]] = {}

    def trade(self, worker: LimitedWorker, now_s: float) -> None:
        found = {
            name: Share(row.wanted, row.events, row.before, now_s - changed_s, row.largest)
            for name, (row, changed_s) in self.rows.items()
        }
        wanted, worker.window.wanted = worker.window.wanted, 0
        largest, worker.window.largest = min(worker.window.largest, self.limit.events), 1
        share = next_share(
            self.limit, found, worker.name, wanted, largest, worker.window.share if worker.joined else None
        )
        old = self.rows.get(worker.name)
        same = old is not None and old[0].events == share.events
        self.rows[worker.name] = share, old[1] if old is not None and same else now_s
        worker.window.share, worker.joined = share.events, True


def most_in(window_s: float, taken: list[tuple[float, int]]) -> int:
    """The most events in any window that excludes one of its ends."""
    taken = sorted(taken)
    sums = [0, *accumulate(events for _, events in taken)]
    most, first = 0, 0
    for last, (at_s, _) in enumerate(taken):
        while taken[first][0] <= at_s - window_s:
            first += 1
        most = max(most, sums[last + 1] - sums[first])
    return most


@given(RATES)
def test_a_limit_in_windows_is_the_limit_by_the_second_with_at_most_one_event_more(rate: float) -> None:
    limit = KeyLimit.of(rate)

    assert limit.window_s >= 1
    assert limit.events <= rate + 1
    assert math.isclose(limit.events / limit.window_s, rate)


@given(st.integers(1, 1000), st.lists(st.integers(0, 2000), min_size=1, max_size=8))
def test_shares_add_up_to_the_limit_and_nobody_is_robbed(events: int, wanted: list[int]) -> None:
    shares = fair_shares(events, wanted)

    assert sum(shares) == events
    for mine, share in zip(wanted, shares, strict=True):
        assert share >= min(mine, events // len(wanted))


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 200)), min_size=1, max_size=8))
def test_shares_of_whole_calls_add_up_alike_and_leave_nobody_without_a_call(asked: list[tuple[int, int]]) -> None:
    shares, largest = zip(*asked, strict=True)
    whole = whole_calls(shares, largest)

    assert sum(whole) == sum(shares)
    for (share, call), after in zip(asked, whole, strict=True):
        assert after >= (share - share % call if call <= share else share)


@given(st.integers(1, 50), st.integers(2, 100), st.integers(1, 4))
def test_workers_whose_callers_send_batches_use_as_much_of_a_limit_as_whole_batches_are(
    batches: int, events: int, count: int
) -> None:
    limit = KeyLimit.of(float(max(batches, count) * events + events // 2))
    workers, table = [LimitedWorker(str(number), limit) for number in range(count)], ShareTable(limit)
    for step in range(8 * TICKS):
        now_s = step / TICKS
        if step % TICKS < len(workers):
            table.trade(workers[step % TICKS], now_s)
        for worker in workers:
            while worker.call(events, now_s) == 0:
                pass
    used = sum(taken for worker in workers for at_s, taken in worker.taken if 6 <= at_s < 8)

    assert used >= 0.95 * 2 * (limit.events - limit.events % events)


@given(RATES, st.integers(1, 4), st.integers(0, 2**32), st.booleans())
def test_in_no_window_more_is_taken_than_the_limit_allows(rate: float, count: int, seed: int, late: bool) -> None:
    chance, limit = random.Random(seed), KeyLimit.of(rate)
    workers, table = [LimitedWorker(str(number), limit) for number in range(count)], ShareTable(limit)
    now_s = 0.0
    for step in range(400):
        now_s += chance.expovariate(20 / limit.window_s)
        worker = chance.choice(workers[: 1 + step % count if late else count])
        if chance.random() < 0.15:
            table.trade(worker, now_s)
        else:
            share = worker.window.share
            if share > 0:
                worker.call(chance.randint(1, max(1, min(share, 1 + step % 5))), now_s)

    assert most_in(limit.window_s, [each for worker in workers for each in worker.taken]) <= limit.events


@given(st.integers(20, 200), st.integers(1, 4), st.integers(0, 2**32))
def test_a_crash_that_empties_the_table_lets_no_more_through(rate: int, count: int, seed: int) -> None:
    chance, limit = random.Random(seed), KeyLimit.of(rate)
    workers, table = [LimitedWorker(str(number), limit) for number in range(count)], ShareTable(limit)
    for step in range(12 * TICKS):
        now_s = step / TICKS
        if step == 6 * TICKS:
            table.rows.clear()
        if step % TICKS < count:  # each once a second, as they do
            table.trade(workers[step % TICKS], now_s)
        worker = chance.choice(workers)
        while worker.call(1, now_s) == 0:
            pass

    assert most_in(1.0, [each for worker in workers for each in worker.taken]) <= limit.events


@given(st.integers(1, 300), st.lists(st.booleans(), min_size=1, max_size=4).filter(any))
def test_workers_with_callers_use_at_least_95_percent(rate: int, busy: list[bool]) -> None:
    limit = KeyLimit.of(rate)
    workers, table = [LimitedWorker(str(number), limit) for number in range(len(busy))], ShareTable(limit)
    for step in range(10 * TICKS):
        now_s = step / TICKS
        if step % TICKS < len(workers):
            table.trade(workers[step % TICKS], now_s)
        for worker, has_callers in zip(workers, busy, strict=True):
            while has_callers and worker.call(1, now_s) == 0:
                pass
    used = sum(events for worker in workers for at_s, events in worker.taken if 5 <= at_s < 10)

    assert used >= 0.95 * 5 * rate


@given(st.integers(1, 100), st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 150)), max_size=50))
def test_a_call_that_waits_as_long_as_it_was_told_is_taken(share: int, calls: list[tuple[float, int]]) -> None:
    window = EventWindow(1.0)
    window.share = share
    now_s = 0.0
    for pause_s, events in calls:
        now_s += pause_s
        wait_s = window.take(events, now_s)
        assert 0 <= wait_s <= 1.0 * max(1, 150 / share) + 1e-9
        if wait_s:
            now_s += wait_s + 1e-9
            assert window.take(events, now_s) == 0


@given(st.integers(1, 20), st.integers(21, 200))
def test_a_call_larger_than_the_share_is_taken_alone_and_paid_for(share: int, events: int) -> None:
    window = EventWindow(1.0)
    window.share = share

    assert window.take(events, 0.0) == 0
    assert math.isclose(window.take(1, 0.5), events / share - 0.5)
    assert window.take(1, events / share + 1e-9) == 0


@given(st.integers(0, 2**32))
def test_a_window_remembers_a_bounded_number_of_parts(seed: int) -> None:
    chance, window = random.Random(seed), EventWindow(1.0)
    window.share = 10**9
    now_s = 0.0
    for _ in range(2000):
        now_s += chance.expovariate(1000)
        window.take(1, now_s)

    assert len(window._parts) <= SLOTS + 1
