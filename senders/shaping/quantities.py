"""Rates and durations as people write them: `"100/s"`, `"1,000/hr,max_burst=1"`, `"90m"`, `"2 hours"`."""

import re
from dataclasses import dataclass
from datetime import timedelta

_UNITS = {
    1: ("s", "sec", "secs", "second", "seconds"),
    60: ("m", "min", "mins", "minute", "minutes"),
    3600: ("h", "hr", "hrs", "hour", "hours"),
    86_400: ("d", "day", "days"),
}
_SECONDS = {word: seconds for seconds, words in _UNITS.items() for word in words}
_RATE = re.compile(r"\s*([0-9][0-9,_]{0,15})\s*/\s*([a-z]{1,8})\s*(?:,\s*max_burst\s*=\s*([0-9][0-9,_]{0,15})\s*)?")
_PART = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([a-z]{1,8})\s*")
MOST_PER_SECOND = 100_000
LONGEST_RATE = 64
LONGEST_DURATION = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class SendRate:
    """So many mails or connections in a period of 1, 60, 3,600 or 86,400 s.

    They are spaced evenly, and up to `burst` may go at once. So no period sees more than `count + burst - 1`.
    """

    count: int
    period_s: int
    burst: int = 1

    @property
    def interval_s(self) -> float:
        """The time between two permits."""
        return self.period_s / self.count

    def __str__(self) -> str:
        burst = f",max_burst={self.burst}" if self.burst > 1 else ""
        return f"{self.count}/{_UNITS[self.period_s][0]}{burst}"

    @classmethod
    def parse(cls, text: str) -> "SendRate":
        """The rate that a text says; raises ValueError that says what to write."""
        if text.lstrip().startswith("local:"):
            raise ValueError("limits hold over all workers, so `local:` does not exist; write it without")
        found = _RATE.fullmatch(text) if len(text) <= LONGEST_RATE else None
        if found is None or found[2] not in _SECONDS:
            raise ValueError('not a rate; write "100/s", "50/min", "1,000/h" or "1,000/h,max_burst=5"')
        rate = cls(_number(found[1]), _SECONDS[found[2]], _number(found[3] or "1"))
        if not 0 < rate.count <= MOST_PER_SECOND * rate.period_s:
            raise ValueError(f"a rate is from 1 in a period to {MOST_PER_SECOND:,} a second; to send nothing, suspend")
        if not 0 < rate.burst <= rate.count:
            raise ValueError("max_burst is from 1 to the number of the rate")
        return rate


def parse_duration(text: str) -> timedelta:
    """The duration that a text says; raises ValueError that says what to write."""
    total_s, index = 0.0, 0
    while index < len(text) <= LONGEST_RATE and (part := _PART.match(text, index)) and part[2] in _SECONDS:
        total_s += float(part[1]) * _SECONDS[part[2]]
        index = part.end()
    if index != len(text) or not text:
        raise ValueError('not a duration; write "60s", "90m", "2 hours" or "1h 30m"')
    if total_s > LONGEST_DURATION.total_seconds():
        raise ValueError(f"longer than {LONGEST_DURATION.days} days")
    return timedelta(seconds=total_s)


def duration_text(duration: timedelta) -> str:
    """A duration as `parse_duration` reads it, in the largest units that fit."""
    left_s = duration.total_seconds()
    parts = []
    for seconds in (86_400, 3600, 60):
        whole, left_s = divmod(left_s, seconds)
        if whole:
            parts.append(f"{whole:.0f}{_UNITS[seconds][0]}")
    if left_s or not parts:
        parts.append(f"{left_s:.6f}".rstrip("0").rstrip(".") + "s")
    return " ".join(parts)


def _number(digits: str) -> int:
    return int(digits.replace(",", "").replace("_", ""))
