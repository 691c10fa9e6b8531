"""What is said and how long is waited while a server is away: one line when it goes, one when it is back."""

import time
from collections.abc import Iterator
from threading import Lock

import structlog

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0
"""A server that is back is used again within five seconds; one that is away is asked no oftener than that."""


def backoff_s() -> Iterator[float]:
    """Waits that double from a quarter of a second up to five seconds, without end."""
    wait_s = FIRST_WAIT_S
    while True:
        yield wait_s
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


class Outage:
    """Whether one server is away, as all its users in this process see it together. Safe to share between threads."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._since: float | None = None
        self._lock = Lock()
        self._log = structlog.get_logger("infra.service.outages")

    @property
    def is_away(self) -> bool:
        """Whether the server did not answer when it was last asked."""
        return self._since is not None

    def away(self, error: Exception) -> None:
        """Note that the server did not answer; says so if nobody has said it yet."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        self._log.warning(
            f"{self.server}_away", error=_one_line(error), next_step="waiting with back-off; nothing is lost"
        )

    def back(self) -> None:
        """Note that the server answered; says so if it was away."""
        if self._since is None:
            return
        with self._lock:
            if self._since is None:
                return
            away_s, self._since = time.monotonic() - self._since, None
        self._log.info(f"{self.server}_back", away_s=round(away_s, 1))


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
