"""Logs when a server goes away and when it is back, one line each, and says how long to wait in between."""

import time
from collections.abc import Iterator
from threading import Lock

import structlog

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0
"""A server that is back is used again within five seconds. One that is away is tried at most that often."""


def backoff_s() -> Iterator[float]:
    """Waits that double from a quarter of a second up to five seconds, without end."""
    wait_s = FIRST_WAIT_S
    while True:
        yield wait_s
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


class Outage:
    """Whether one server is away, for all its users in this process together. Safe in any thread.

    It is back when each user that it was away for says so, or has given up: one whose connection is refused does not
    let it come and go while others are answered.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self._since: float | None = None
        self._away_for: set[object] = set()
        self._lock = Lock()
        self._log = structlog.get_logger("infra.service.outages")

    @property
    def is_away(self) -> bool:
        """Whether the server did not answer the last request."""
        return self._since is not None

    def away(self, error: Exception, user: object = None) -> None:
        """Note that the server did not answer this user; logs it at the first time."""
        with self._lock:
            self._away_for.add(user)
            if self._since is not None:
                return
            self._since = time.monotonic()
        self._log.warning(
            f"{self.server}_away", error=_one_line(error), next_step="waiting with back-off; nothing is lost"
        )

    def give_up(self, user: object) -> None:
        """Note that this user waits for the server no more. If nobody waits, the next answer ends the outage."""
        with self._lock:
            self._away_for.discard(user)

    def back(self, user: object = None) -> None:
        """Note that the server answered this user; logs it if it was away, and is so for nobody else."""
        if self._since is None:
            return
        with self._lock:
            self._away_for.discard(user)
            if self._since is None or self._away_for:
                return
            away_s, self._since = time.monotonic() - self._since, None
        self._log.info(f"{self.server}_back", away_s=round(away_s, 1))


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
