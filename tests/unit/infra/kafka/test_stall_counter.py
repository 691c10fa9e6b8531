"""Which partitions count as stalled."""

from infra.kafka.stalls import StallCounter
from infra.kafka.topics import TopicPartition

A, B = TopicPartition("a", 0), TopicPartition("b", 0)


def test_a_partition_that_stays_before_its_end_is_counted_from_the_second_check() -> None:
    counter = StallCounter()
    assert counter.unmoved({A: 3}) == {}
    assert [counter.count(counter.unmoved({A: 3}), {A: 9}) for _ in range(3)] == [{A: 1}, {A: 2}, {A: 3}]


def test_a_partition_that_moves_or_reaches_its_end_starts_again() -> None:
    counter = StallCounter()
    counter.unmoved({A: 3, B: 3})
    assert counter.count(counter.unmoved({A: 3, B: 3}), {A: 9, B: 9}) == {A: 1, B: 1}
    assert counter.count(counter.unmoved({A: 4, B: 3}), {A: 9, B: 3}) == {}
    assert counter.count(counter.unmoved({A: 4, B: 3}), {A: 9, B: 9}) == {A: 1, B: 1}


def test_a_partition_without_a_known_end_starts_again_even_at_an_unknown_position() -> None:
    counter = StallCounter()
    counter.unmoved({A: -1001})
    assert counter.count(counter.unmoved({A: -1001}), {A: 0}) == {A: 1}
    assert counter.count(counter.unmoved({A: -1001}), {}) == {}
    assert counter.count(counter.unmoved({A: -1001}), {A: 0}) == {A: 1}


def test_a_reset_starts_all_counts_again() -> None:
    counter = StallCounter()
    counter.unmoved({A: 3})
    counter.count(counter.unmoved({A: 3}), {A: 9})
    counter.reset()
    assert counter.unmoved({A: 3}) == {}
    assert counter.count(counter.unmoved({A: 3}), {A: 9}) == {A: 1}
