"""The index of pending timers."""

from streams.runtime.timers import TimerIndex


def pop(index: TimerIndex, now_ms: int) -> bytes | None:
    """The key of the first entry that is due."""
    entry = index.pop_due(now_ms)
    return None if entry is None else entry[1]


def test_the_earliest_due_comes_first_and_each_once():
    index = TimerIndex()
    index.set(b"late", 30)
    index.set(b"early", 10)
    index.set(b"middle", 20)
    assert [pop(index, 25) for _ in range(3)] == [b"early", b"middle", None]


def test_a_timer_due_exactly_now_is_due():
    index = TimerIndex()
    index.set(b"u", 10)
    assert pop(index, 9) is None
    assert index.pop_due(10) == (10, b"u")


def test_a_moved_timer_fires_only_at_its_new_instant():
    index = TimerIndex()
    index.set(b"u", 10)
    index.set(b"u", 50)
    assert pop(index, 49) is None
    assert pop(index, 50) == b"u"
    assert pop(index, 99) is None


def test_a_timer_moved_away_and_back_fires_once():
    index = TimerIndex()
    for due in (10, 50, 10):
        index.set(b"u", due)
    assert [pop(index, 99), pop(index, 99)] == [b"u", None]


def test_a_cleared_timer_does_not_fire():
    index = TimerIndex()
    index.set(b"u", 10)
    index.set(b"u", None)
    assert pop(index, 99) is None
    assert len(index) == 0


def test_keys_that_move_often_do_not_fill_the_index() -> None:
    index = TimerIndex()
    for number in range(100_000):
        index.set(b"u%d" % (number % 10), number)
    assert index.entries < 2_000
    assert [pop(index, 10**6) for _ in range(11)] == [b"u%d" % n for n in range(10)] + [None]


def test_timers_of_a_recovery_are_due_in_order() -> None:
    index = TimerIndex()
    index.fill((b"u%d" % n, 100 - n) for n in range(50))
    assert [pop(index, 53) for _ in range(4)] == [b"u49", b"u48", b"u47", None]
