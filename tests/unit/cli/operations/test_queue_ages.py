"""How often the queue is counted while somebody watches."""

from typing import Any

import pytest

from cli.operations.queue_ages import QueueNotCounted, SpacedCount


class SlowDatabase:
    """Each count takes some seconds of a clock of its own."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.now_s = 100.0
        self.counts = 0
        self.answers = True

    def count(self, _url: str, _database: str) -> dict[str, Any]:
        self.counts += 1
        self.now_s += self.takes_s
        if not self.answers:
            raise QueueNotCounted("not within 5 s")
        return {"started": self.counts}

    def clock(self) -> float:
        return self.now_s


def test_the_next_count_waits_ten_times_as_long_as_the_last_one_took() -> None:
    database = SlowDatabase(takes_s=2)
    look = SpacedCount(database.count, database.clock)
    assert look("", "") == {"started": 1, "age_s": 0}
    database.now_s += 19.5
    assert look("", "") == {"started": 1, "age_s": 19.5}
    database.now_s += 0.5
    assert look("", "") == {"started": 2, "age_s": 0}


def test_a_count_that_ends_without_an_answer_is_not_tried_at_once_again() -> None:
    database = SlowDatabase(takes_s=5)
    database.answers = False
    look = SpacedCount(database.count, database.clock)
    for _ in range(3):
        with pytest.raises(QueueNotCounted):
            look("", "")
    assert database.counts == 1
    database.answers = True
    database.now_s += 50
    assert look("", "")["started"] == 2
