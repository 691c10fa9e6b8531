"""The goals of the stream layer, for one worker process with exactly-once, and whether a run met them."""

from collections.abc import Callable, Iterator
from itertools import zip_longest

from perf.programs import BARE_RULE, BARE_SPIKE, FLINK, KAFKA_STREAMS
from perf.results import PerformanceGoal, Run, Throughput
from perf.rulesets import EVERY_EVENT, ONE, TWENTY, TWENTY_ALL_COUNT
from perf.throughput import FAUST

ONE_PER_S, TWENTY_PER_S = 214_000, 60_000
OF_THE_BARE_LOOP = 0.8
TIMES_FAUST = 30
EVERY_EVENT_PER_S, EVERY_EVENT_US, EVERY_EVENT_NEXT_US = 90_000, 10, 8.5
"""The first two are what Kafka Streams took when it was first measured beside Ebbtide, and the last what Flink took."""
ALL_COUNT_PER_S, ALL_COUNT_US = 50_000, 20
STEADY_PER_S = 50_000
"""A load at which the latency is measured whatever the throughput is."""
P99_MS = 340
CHANGELOG_S, SNAPSHOT_S, RESIDENT_MIB = 30, 5, 1024


def goals(run: Run) -> list[PerformanceGoal]:
    """Each goal with the measured value, or the worst one if it was measured more than once."""
    return [*_throughput(run), *_dense(run), *_latency(run), *_recovery(run)]


def _throughput(run: Run) -> Iterator[PerformanceGoal]:
    rates = _Figures(run, lambda each: each.events_per_s)
    yield at_least("one rule", rates.least(ONE.name), ONE_PER_S, "events/s")
    for bare in (BARE_SPIKE, BARE_RULE):
        yield at_least(f"one rule, of {bare}", rates.least(ONE.name, bare), OF_THE_BARE_LOOP, "times")
    yield at_least("twenty rules", rates.least(TWENTY.name), TWENTY_PER_S, "events/s")
    yield at_least("one rule, of Faust as shipped", rates.least(ONE.name, FAUST.name), TIMES_FAUST, "times")


def _dense(run: Run) -> Iterator[PerformanceGoal]:
    """Where every event counts, by the warm part: a JVM compiles first, and users' states grow."""
    rates = _Figures(run, lambda each: each.warm_events_per_s)
    cpu = _Figures(run, lambda each: each.warm_cpu_us_per_event)
    one, twenty = EVERY_EVENT.name, TWENTY_ALL_COUNT.name
    yield at_least(one, rates.least(one), EVERY_EVENT_PER_S, "events/s")
    yield at_least(f"{one}, of Kafka Streams", rates.least(one, KAFKA_STREAMS), 1, "times")
    yield at_most(f"{one}, CPU", cpu.most(one), EVERY_EVENT_US, "µs")
    yield at_least(f"{one}, of Flink", rates.least(one, FLINK), 1, "times")
    yield at_most(f"{one}, CPU, the next goal", cpu.most(one), EVERY_EVENT_NEXT_US, "µs")
    yield at_least(twenty, rates.least(twenty), ALL_COUNT_PER_S, "events/s")
    yield at_most(f"{twenty}, CPU", cpu.most(twenty), ALL_COUNT_US, "µs")


class _Figures:
    """One figure of each contender, by the events that it was measured over."""

    def __init__(self, run: Run, figure: Callable[[Throughput], float | None]) -> None:
        self._of: dict[tuple[str, str], dict[str, float]] = {}
        for each in run.throughput:
            value = figure(each)
            if value is not None:
                self._of.setdefault((each.workload, each.distribution), {})[each.name] = value

    def least(self, name: str, to: str | None = None) -> float | None:
        """A contender's least figure, or the least quotient of it and another's over the same events."""
        if to is None:
            return min((found[name] for found in self._of.values() if name in found), default=None)
        return min((found[name] / found[to] for found in self._of.values() if {name, to} <= found.keys()), default=None)

    def most(self, name: str) -> float | None:
        """A contender's greatest figure."""
        return max((found[name] for found in self._of.values() if name in found), default=None)


def _latency(run: Run) -> Iterator[PerformanceGoal]:
    """At a steady load, and at half of what was reached."""
    measured = [each.p99_ms for each in run.latency]
    loads = (f"{STEADY_PER_S:,} events/s", "half of what one rule does")
    for what, p99_ms in zip_longest(loads, measured[:2]):
        yield at_most(f"latency p99 at {what}", p99_ms, P99_MS, "ms")


def _recovery(run: Run) -> Iterator[PerformanceGoal]:
    found = run.recovery or {}
    users = found.get("settings", {}).get("users", 0)
    for name, key, limit in (("changelog", "from_changelog", CHANGELOG_S), ("snapshot", "from_snapshot", SNAPSHOT_S)):
        took = found.get(key, {}).get("recovery_s") if users >= 1_000_000 else None
        yield at_most(f"a million users from the {name}", took, limit, "s")
    resident = found.get("from_changelog", {}).get("rss_mb") if users >= 1_000_000 else None
    yield at_most("a million users resident", resident, RESIDENT_MIB, "MiB")


def at_least(what: str, measured: float | None, wanted: float, unit: str) -> PerformanceGoal:
    """A goal for a value that should be high."""
    return PerformanceGoal(
        what=what,
        wanted=f">= {wanted:,g} {unit}",
        measured=measured,
        met=None if measured is None else measured >= wanted,
    )


def at_most(what: str, measured: float | None, wanted: float, unit: str) -> PerformanceGoal:
    """A goal for a value that should be low."""
    return PerformanceGoal(
        what=what,
        wanted=f"<= {wanted:,g} {unit}",
        measured=measured,
        met=None if measured is None else measured <= wanted,
    )


def ratio(results: list[Throughput], result: Throughput, to: str) -> float | None:
    """A contender's rate divided by another's over the same events."""
    for other in results:
        same = (other.name, other.workload, other.distribution) == (to, result.workload, result.distribution)
        if same and other.events_per_s and result.events_per_s:
            return result.events_per_s / other.events_per_s
    return None
