"""The goals of the stream layer, by worker process and exactly once, and whether a run met them."""

from collections.abc import Iterator
from itertools import zip_longest

from perf import throughput
from perf.results import PerformanceGoal, Run, Throughput

ONE_PER_S, TWENTY_PER_S = 100_000, 60_000
OF_THE_BARE_LOOP = 0.8
TIMES_FAUST = 30
P99_MS = 400
CHANGELOG_S, SNAPSHOT_S, RESIDENT_MIB = 30, 5, 1024


def goals(run: Run) -> list[PerformanceGoal]:
    """Each goal with what was measured: the worse of what was measured more than once."""
    return [*_throughput(run), *_latency(run), *_recovery(run)]


def _throughput(run: Run) -> Iterator[PerformanceGoal]:
    rates: dict[str, dict[str, float]] = {}
    for each in run.throughput:
        if each.events_per_s is not None:
            rates.setdefault(each.distribution, {})[each.name] = each.events_per_s

    def worst(name: str, to: str | None = None) -> float | None:
        pairs = [(of[name], of[to] if to else 1.0) for of in rates.values() if name in of and (to is None or to in of)]
        return min((rate / base for rate, base in pairs), default=None)

    yield at_least("one rule", worst(throughput.ONE), ONE_PER_S, "events/s")
    for bare in (throughput.BARE_SPIKE, throughput.BARE_RULE):
        yield at_least(f"one rule, of {bare}", worst(throughput.ONE, bare), OF_THE_BARE_LOOP, "times")
    yield at_least("twenty rules", worst(throughput.TWENTY), TWENTY_PER_S, "events/s")
    yield at_least("one rule, of Faust as shipped", worst(throughput.ONE, throughput.FAUST), TIMES_FAUST, "times")


def _latency(run: Run) -> Iterator[PerformanceGoal]:
    """At half of the goal's load, and at half of what was reached."""
    measured = [each.p99_ms for each in run.latency]
    for what, p99_ms in zip_longest(("half of the goal", "half of what one rule does"), measured[:2]):
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
    """The goal of a figure that is better the higher it is."""
    return PerformanceGoal(
        what=what,
        wanted=f">= {wanted:,g} {unit}",
        measured=measured,
        met=None if measured is None else measured >= wanted,
    )


def at_most(what: str, measured: float | None, wanted: float, unit: str) -> PerformanceGoal:
    """The goal of a figure that is better the lower it is."""
    return PerformanceGoal(
        what=what,
        wanted=f"<= {wanted:,g} {unit}",
        measured=measured,
        met=None if measured is None else measured <= wanted,
    )


def ratio(results: list[Throughput], result: Throughput, to: str) -> float | None:
    """A contender's rate by that of another over the same events."""
    for other in results:
        same = other.name == to and other.distribution == result.distribution
        if same and other.events_per_s and result.events_per_s:
            return result.events_per_s / other.events_per_s
    return None
