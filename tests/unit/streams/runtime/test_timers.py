"""The index of pending timers."""

from streams.runtime.timers import TimerIndex


def test_the_earliest_due_comes_first_and_each_once():
    index = TimerIndex()
    index.set(b"late", 30)
    index.set(b"early", 10)
    index.set(b"middle", 20)
    assert [index.pop_due(25) for _ in range(3)] == [b"early", b"middle", None]


def test_a_timer_due_exactly_now_is_due():
    index = TimerIndex()
    index.set(b"u", 10)
    assert index.pop_due(9) is None
    assert index.pop_due(10) == b"u"


def test_a_moved_timer_fires_only_at_its_new_instant():
    index = TimerIndex()
    index.set(b"u", 10)
    index.set(b"u", 50)
    assert index.pop_due(49) is None
    assert index.pop_due(50) == b"u"
    assert index.pop_due(99) is None


def test_a_timer_moved_away_and_back_fires_once():
    index = TimerIndex()
    for due in (10, 50, 10):
        index.set(b"u", due)
    assert [index.pop_due(99), index.pop_due(99)] == [b"u", None]


def test_a_cleared_timer_does_not_fire():
    index = TimerIndex()
    index.set(b"u", 10)
    index.set(b"u", None)
    assert index.pop_due(99) is None
    assert len(index) == 0


def test_keys_that_are_moved_again_and_again_do_not_fill_the_index() -> None:
    index = TimerIndex()
    for turn in range(100_000):
        index.set(b"u%d" % (turn % 10), turn)
    assert index.entries < 2_000
    assert [index.pop_due(10**6) for _ in range(11)] == [b"u%d" % n for n in range(10)] + [None]


def test_what_a_recovery_found_is_due_in_order() -> None:
    index = TimerIndex()
    index.fill((b"u%d" % n, 100 - n) for n in range(50))
    assert [index.pop_due(53) for _ in range(4)] == [b"u49", b"u48", b"u47", None]
