"""The time by which commands are due: the database's, whatever a host's clock shows.

Workers write times for each other, and the database writes some of its own. With one clock, a worker whose host's clock
is wrong is neither early nor late, and no other one is because of it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection

NEAR = timedelta(milliseconds=50)
"""Hosts that keep their time agree better than this."""


class LedgerClock:
    """Shows the host's time, moved to the database's where the two differ."""

    def __init__(self, host: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._host = host
        self._ahead = timedelta(0)
        """How far the host's clock is ahead."""
        self._log = structlog.get_logger("senders.queue.ledger_clock")

    def __call__(self) -> datetime:
        return self._host() - self._ahead

    async def look(self, connection: AsyncConnection[Any]) -> None:
        """Ask the database what its clock shows."""
        asked = self()
        answer = await connection.execute("SELECT clock_timestamp()")
        [[said]] = await answer.fetchall()
        self.note(asked, said, self())

    def note(self, asked: datetime, said: datetime, heard: datetime) -> None:
        """The database's clock showed `said`, at a moment between two that this clock showed."""
        if asked - NEAR <= said <= heard + NEAR:
            return
        self._ahead += asked + (heard - asked) / 2 - said
        self._log.warning(
            "clock_wrong", ahead_s=round(self._ahead.total_seconds(), 1), next_step="set the host's clock"
        )
