"""The ledger's clock shows the host's time where that can be right, and else the database's."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from senders.queue.ledger_clock import LedgerClock

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("said", [NOON, NOON + SECOND, NOON + 2 * SECOND, NOON - SECOND / 50])
def test_an_answer_that_a_right_clock_explains_changes_nothing(said: datetime) -> None:
    clock = LedgerClock(lambda: NOON)
    with capture_logs() as logs:
        clock.note(NOON, said, NOON + 2 * SECOND)
    assert clock() == NOON
    assert logs == []


@pytest.mark.parametrize("ahead", [600 * SECOND, -600 * SECOND])
def test_a_clock_that_is_wrong_shows_the_time_of_the_database_and_says_so_once(ahead: timedelta) -> None:
    clock = LedgerClock(lambda: NOON + ahead)
    with capture_logs() as logs:
        for _ in range(2):
            clock.note(clock(), NOON, clock())
    assert clock() == NOON
    assert [(each["event"], each["ahead_s"]) for each in logs] == [("clock_wrong", ahead.total_seconds())]
