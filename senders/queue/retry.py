"""When a deferred command is tried again. Pure: the random number for the jitter is passed in."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

LEAST_ASKED = timedelta(seconds=5)
"""A receiver that asks to try again sooner is tried then: one that says `0 seconds` must not be asked in a loop."""
_UNITS = {"s": 1, "m": 60, "h": 3600}
_ASKED = re.compile(
    r"\b(?:again|retry|wait|back|later|greylisted|graylisted|delayed|deferred|blocked|limited)\b[^0-9]{0,40}"
    r"\b(?:(?P<clock>\d{1,2}:\d\d:\d\d)"
    r"|(?P<count>\d{1,6}) ?(?P<unit>s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?))\b",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits that double from `first` up to `longest`, each changed at random by up to `jitter` of itself."""

    first: timedelta
    longest: timedelta
    jitter: float

    def wait(self, attempt: int, chance: float, asked: timedelta | None = None) -> timedelta:
        """How long to wait after `attempt` (1 is the first) was deferred. `chance` in [0, 1) is the jitter.

        What the receiver asked for is obeyed between LEAST_ASKED and `longest`, and is only made longer by the jitter:
        commands deferred together are not due together, and none is too early.
        """
        if asked is not None:
            return min(max(asked, LEAST_ASKED) * (1 + self.jitter * chance), max(self.longest, LEAST_ASKED))
        doubled = self.first * (1 << min(attempt - 1, 20))
        return min(doubled, self.longest) * (1 + self.jitter * (2 * chance - 1))


def next_attempt(
    attempt: int,
    now: datetime,
    expires_at: datetime,
    policy: RetryPolicy,
    chance: float,
    asked: timedelta | None = None,
) -> datetime:
    """When to try again. Never later than the expiry, which is then recorded."""
    return min(now + policy.wait(attempt, chance, asked), max(expires_at, now))


def asked_wait(text: str) -> timedelta | None:
    """How long the text of a reply asks to wait, as in `greylisted, try again in 5 minutes`; None if it does not."""
    found = _ASKED.search(text)
    if found is None:
        return None
    if found["clock"]:
        hours, minutes, seconds = map(int, found["clock"].split(":"))
        return timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return timedelta(seconds=int(found["count"]) * _UNITS[found["unit"][0].lower()])
