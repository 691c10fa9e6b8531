"""What a run's progress, as it was seen from outside, says of its speed: over all of it, and over its warm part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WARM_SHARE = 0.7
"""The last part of the events, for which a process is warm: a JVM has compiled, and users have state."""


@dataclass(frozen=True, slots=True)
class CommitProgress:
    """How many records were committed at an instant, and the CPU time that was spent until then."""

    at_s: float
    committed: int
    cpu_s: float
    cpu_s_by_thread: Mapping[str, float] = field(default_factory=dict)
    """By kind of thread; it is asked at the first and the last progress of a run."""

    def per_s(self, end: "CommitProgress") -> float | None:
        """Events a second from here to `end`; None if there are none."""
        events = end.committed - self.committed
        return events / (end.at_s - self.at_s) if events else None

    def cpu_us(self, end: "CommitProgress") -> float | None:
        """Microseconds of CPU an event from here to `end`; None if there are none."""
        events = end.committed - self.committed
        return (end.cpu_s - self.cpu_s) / events * 1e6 if events else None


@dataclass(frozen=True, slots=True)
class MeasuredWindow:
    """A run, from `CommitWatch.begin` or else from the first commit that was seen, to the last commit.

    `warm` is the part over the last 70 % of the events. It ends at the last commit but one: a process stands idle
    before its last, for as long as it waits between two.
    """

    whole: tuple[CommitProgress, CommitProgress]
    warm: tuple[CommitProgress, CommitProgress]
    peak_mib: float
    cpu_us_by_thread: Mapping[str, float]
    """Of an event, from the first commit that was seen to the last; empty if there is one commit."""

    @classmethod
    def of(
        cls, seen: Sequence[CommitProgress], records: int, peak_mib: float, *, late_last_commit: bool = False
    ) -> "MeasuredWindow":
        """From all progress that was seen over the last `records` of a topic.

        `late_last_commit`: the whole run too ends at the last commit but one.
        """
        last = seen[-1]
        before_last = seen[-2] if len(seen) > 1 else last
        from_here = last.committed - WARM_SHARE * records
        warm = next((each for each in seen if each.committed >= from_here), last)
        return cls(
            (seen[0], before_last if late_last_commit else last),
            (min(warm, before_last, key=lambda each: each.committed), before_last),
            peak_mib,
            _by_thread(seen[0], last),
        )

    def measured(self) -> dict[str, Any]:
        """What a result says of it."""
        return {
            "seconds": self.whole[1].at_s - self.whole[0].at_s,
            "events_per_s": self.whole[0].per_s(self.whole[1]),
            "cpu_us_per_event": self.whole[0].cpu_us(self.whole[1]),
            "warm_events_per_s": self.warm[0].per_s(self.warm[1]),
            "warm_cpu_us_per_event": self.warm[0].cpu_us(self.warm[1]),
            "peak_mib": self.peak_mib,
            "cpu_us_by_thread": self.cpu_us_by_thread,
        }


def _by_thread(begin: CommitProgress, end: CommitProgress) -> dict[str, float]:
    events = end.committed - begin.committed
    spent = {name: cpu_s - begin.cpu_s_by_thread.get(name, 0.0) for name, cpu_s in end.cpu_s_by_thread.items()}
    return {name: round(cpu_s / events * 1e6, 2) for name, cpu_s in spent.items()} if events else {}
