"""When a deferred command is tried again. Pure: the random number for the jitter is passed in."""

from collections.abc import Sequence
from datetime import datetime, timedelta


def next_attempt(
    attempt: int, now: datetime, expires_at: datetime, schedule_s: Sequence[float], jitter: float, chance: float
) -> datetime:
    """When to try again after `attempt` (1 is the first) was deferred.

    The schedule's last wait repeats. `chance` in [0, 1) changes the wait by up to `jitter` of itself either way, so
    that commands deferred together are not due together. Never later than the expiry, which is then recorded.
    """
    wait_s = schedule_s[min(attempt, len(schedule_s)) - 1]
    spread_s = wait_s * (1 + jitter * (2 * chance - 1))
    return min(now + timedelta(seconds=spread_s), max(expires_at, now))
