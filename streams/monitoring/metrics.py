"""The worker's metrics by name, for Prometheus. docs/metrics.md is `reference()`; a test holds it to that.

What a checkpoint did is counted when it is committed, so what was undone never counts; a committed record counts once
in all workers together, as it was applied once.
"""

from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.kafka.topics import TopicPartition
from streams.decisions.counts import DEAD_LETTERED, DECIDED, FAILED, FORGOTTEN, UNDECIDED
from streams.monitoring.gauges import Gauge
from streams.runtime.checkpoint import SealedCheckpoint
from streams.runtime.commit import Outcome
from streams.runtime.observer import Observer

PREFIX = "ebbtide_streams_"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RECORDS = (1, 10, 100, 1_000, 10_000, 100_000)


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric: what it is called without the prefix, and what it means."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str

    def counter(self, registry: CollectorRegistry) -> Counter:
        """The counter, registered."""
        return Counter(PREFIX + self.name, self.meaning, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry, buckets: Sequence[float]) -> Histogram:
        """The histogram, registered."""
        return Histogram(PREFIX + self.name, self.meaning, self.labels, registry=registry, buckets=buckets)

    def gauge(self, values: Iterable[tuple[tuple[str, ...], float | None]]) -> GaugeMetricFamily:
        """The gauge with its values by labels; what is not known is left out."""
        family = GaugeMetricFamily(PREFIX + self.name, self.meaning, labels=self.labels)
        for labels, value in values:
            if value is not None:
                family.add_metric(labels, value)
        return family


APPLIED = MetricDefinition(
    "records_applied_total", "counter", ("topic",), "Records of each input applied and committed."
)
WRITTEN = MetricDefinition(
    "records_written_total",
    "counter",
    ("topic",),
    "Records committed to each topic: commands, decisions, dead letters, journal, state.",
)
DECISIONS = MetricDefinition(
    "decisions_total", "counter", ("outcome", "reason"), "Decisions; `reason` is empty where one sends."
)
NOT_DECIDED = MetricDefinition(
    "undecided_total",
    "counter",
    ("what",),
    "What led to no decision: a duplicate event, one too old to begin anything (`stale`), a clamped time, a "
    "profile whose zone is no IANA name (`unknown_zone`) or a timer that made the core fail (`timer_skipped`).",
)
PROBLEMS = MetricDefinition(
    "rule_problems_total",
    "counter",
    ("rule", "place", "cause"),
    "Expressions that failed, by rule, place and cause: a field that is missing (`expression`), or of `on.date` and "
    "`until` a value that is no date (`not_a_date`, `no_such_day`, `year_out_of_range`, `number_out_of_range`).",
)
FORGETS = MetricDefinition(
    "forgotten_total",
    "counter",
    ("rule", "what"),
    "What a bound on memory (docs/triggers.md) made a rule, `metric/NAME` or `score/NAME` forget of a user.",
)
LETTERS = MetricDefinition("dead_letters_total", "counter", ("cause",), "Dead letters written, by cause.")
CHECKPOINT_S = MetricDefinition(
    "checkpoint_seconds", "histogram", (), "From a checkpoint's first record written to its commit."
)
CHECKPOINT_RECORDS = MetricDefinition("checkpoint_records", "histogram", (), "Records that a checkpoint wrote.")
CHECKPOINTS_LOST = MetricDefinition(
    "checkpoints_lost_total",
    "counter",
    (),
    "Checkpoints that failed because another worker had the partitions.",
)
FAILURES = MetricDefinition(
    "checkpoint_failures_total",
    "counter",
    (),
    "Transactions that failed, including those that a retry committed.",
)
REBALANCES = MetricDefinition("rebalances_total", "counter", (), "Assignments of partitions to this worker.")
STALLS = MetricDefinition(
    "fetch_stalls_total",
    "counter",
    (),
    "Partitions that delivered nothing although they held more records, and were fetched again.",
)
RECOVERY_S = MetricDefinition("recovery_seconds", "histogram", (), "From an assignment to the first record processed.")
RESTARTS = MetricDefinition("restarts_total", "counter", (), "Restarts of this slot by the supervisor.")
READY = MetricDefinition("ready", "gauge", (), "1 while the worker processes its partitions, otherwise 0.")
LAG = MetricDefinition("lag_records", "gauge", ("partition",), "Records of the partition's inputs not yet applied.")
CLOCK_LAG = MetricDefinition(
    "clock_lag_seconds",
    "gauge",
    ("partition",),
    "How far the partition's clock lags behind the time of day; timers are late by as much.",
)
USERS = MetricDefinition("users", "gauge", ("partition",), "Users with state.")
STATE = MetricDefinition(
    "state_bytes", "gauge", ("partition",), "Keys and values of that state, estimated from a sample of it."
)
TIMERS = MetricDefinition("timers", "gauge", ("partition",), "Users with a timer pending.")

NAMES = (
    *(APPLIED, WRITTEN, DECISIONS, NOT_DECIDED, PROBLEMS, FORGETS, LETTERS),
    *(CHECKPOINT_S, CHECKPOINT_RECORDS, CHECKPOINTS_LOST, FAILURES),
    *(REBALANCES, STALLS, RECOVERY_S, RESTARTS, READY),
    *(LAG, CLOCK_LAG, USERS, STATE, TIMERS),
)


class Metrics(Observer):
    """The metrics of one worker. `failures`, `ready` and `gauges` are asked at each scrape."""

    def __init__(
        self,
        failures: Callable[[], int],
        ready: Callable[[], bool],
        gauges: Callable[[], Iterable[Gauge]],
        restarts: int = 0,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each counter, saying when it was made: nobody asks
        registry = self.registry = CollectorRegistry()
        self._applied = APPLIED.counter(registry)
        self._written = WRITTEN.counter(registry)
        self._counted = {
            DECIDED: DECISIONS.counter(registry),
            UNDECIDED: NOT_DECIDED.counter(registry),
            FORGOTTEN: FORGETS.counter(registry),
            DEAD_LETTERED: LETTERS.counter(registry),
            FAILED: PROBLEMS.counter(registry),
        }
        self._seconds = CHECKPOINT_S.histogram(registry, SECONDS)
        self._records = CHECKPOINT_RECORDS.histogram(registry, RECORDS)
        self._lost = CHECKPOINTS_LOST.counter(registry)
        self._rebalances = REBALANCES.counter(registry)
        self._stalls = STALLS.counter(registry)
        self._recoveries = RECOVERY_S.histogram(registry, SECONDS)
        RESTARTS.counter(registry).inc(restarts)
        registry.register(_ScrapeCollector(failures, ready, gauges))
        ProcessCollector(registry=registry)

    def page(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)

    def assigned(self, partitions: Collection[int]) -> None:
        """Counts the rebalance."""
        del partitions
        self._rebalances.inc()

    def recovered(self, partitions: Collection[int], took_s: float) -> None:
        """Notes the time."""
        del partitions
        self._recoveries.observe(took_s)

    def stalled(self, place: TopicPartition) -> None:
        """Counts it; the log says of which."""
        del place
        self._stalls.inc()

    def checkpointed(self, sealed: SealedCheckpoint, outcome: Outcome, took_s: float) -> None:
        """Counts what is committed."""
        if outcome is not Outcome.OK:
            self._lost.inc()
            return
        self._seconds.observe(took_s)
        self._records.observe(len(sealed.outputs))
        for topic, count in Tally(map(attrgetter("topic"), sealed.outputs)).items():
            self._written.labels(topic).inc(count)
        for place, count in sealed.applied.items():
            self._applied.labels(place.topic).inc(count)
        self._count(sealed.counts)

    def _count(self, counts: Mapping[tuple[str, ...], int]) -> None:
        for (name, *labels), count in counts.items():
            self._counted[name].labels(*labels).inc(count)


class _ScrapeCollector(Collector):
    """What is not counted but asked at a scrape: a partition that has gone has no series any more."""

    def __init__(
        self, failures: Callable[[], int], ready: Callable[[], bool], gauges: Callable[[], Iterable[Gauge]]
    ) -> None:
        self._failures, self._ready, self._gauges = failures, ready, gauges

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on the partitions held."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families, with a value for each partition held."""
        yield CounterMetricFamily(PREFIX + FAILURES.name, FAILURES.meaning, value=self._failures())
        yield READY.gauge([((), float(self._ready()))])
        held = {(str(g.partition),): g for g in self._gauges()}
        yield LAG.gauge((labels, g.lag) for labels, g in held.items())
        yield CLOCK_LAG.gauge((labels, g.clock_lag_s) for labels, g in held.items())
        yield USERS.gauge((labels, g.entries) for labels, g in held.items())
        yield STATE.gauge((labels, g.state_bytes) for labels, g in held.items())
        yield TIMERS.gauge((labels, g.timers) for labels, g in held.items())


def reference() -> str:
    """The table of all metrics, in Markdown."""
    rows: list[tuple[str, str, str, str]] = [(PREFIX + n.name, n.kind, ", ".join(n.labels), n.meaning) for n in NAMES]
    process = CollectorRegistry()
    ProcessCollector(registry=process)
    for family in process.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        rows.append((name, family.type, "", family.documentation))
    lines = [f"| `{name}` | {kind} | {labels} | {meaning} |" for name, kind, labels, meaning in rows]
    return "\n".join(["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |", *lines, ""])
