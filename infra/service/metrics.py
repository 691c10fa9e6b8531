"""Metrics for Prometheus: one definition each, from which the series and the reference page are made."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Buckets of histograms of durations."""
OTHER = "other"
"""What a label is for every value that gets no series of its own."""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric: its name, its labels, and what it means."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str

    def counter(self, registry: CollectorRegistry) -> Counter:
        """The counter, registered."""
        return Counter(self.name, self.meaning, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry, buckets: Sequence[float]) -> Histogram:
        """The histogram, registered."""
        return Histogram(self.name, self.meaning, self.labels, registry=registry, buckets=buckets)

    def count(self, value: float) -> CounterMetricFamily:
        """The counter with a value that is kept elsewhere."""
        return CounterMetricFamily(self.name, self.meaning, value=value)

    def counts(self, values: Iterable[tuple[tuple[str, ...], float]]) -> CounterMetricFamily:
        """The counter with values that are kept elsewhere, by labels."""
        family = CounterMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, value in values:
            family.add_metric(labels, value)
        return family

    def distribution(self, kept: "Distribution") -> HistogramMetricFamily:
        """The histogram with what is kept elsewhere."""
        buckets, total = [], 0
        for limit, count in zip((*kept.limits, float("inf")), kept.counts, strict=True):
            total += count
            buckets.append(("+Inf" if limit == float("inf") else str(limit), float(total)))
        return HistogramMetricFamily(self.name, self.meaning, buckets=buckets, sum_value=kept.sum)

    def gauge(self, values: Iterable[tuple[tuple[str, ...], float | None]]) -> GaugeMetricFamily:
        """The gauge with its values by labels; an unknown value has no series."""
        family = GaugeMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, value in values:
            if value is not None:
                family.add_metric(labels, value)
        return family


class Distribution:
    """Values counted by buckets, for one thread: a tenth of what a histogram costs that threads share."""

    __slots__ = ("counts", "limits", "sum")

    def __init__(self, limits: Sequence[float]) -> None:
        self.limits = tuple(limits)
        self.counts = [0] * (len(self.limits) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.limits, value)] += 1
        self.sum += value


@dataclass(slots=True)
class BoundedLabel:
    """The values of a label of which at most so many get series of their own: those that come first.

    Every other one counts as `other`, and so does an empty one. Safe in any thread, where a few more may get through.
    """

    most: int
    _known: set[str] = field(default_factory=set)

    def of(self, value: str) -> str:
        """The label that this value counts under."""
        if value in self._known:
            return value
        if not value or len(self._known) >= self.most:
            return OTHER
        self._known.add(value)
        return value


@dataclass(frozen=True, slots=True)
class ScrapeCollector(Collector):
    """Metrics that each scrape reads anew by `read`: a partition that another worker took over has no series any
    more."""

    read: Callable[[], Iterable[Metric]]

    def describe(self) -> Iterable[Metric]:
        """Nothing: the series depend on the partitions held."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The families as they are now."""
        return self.read()


def new_registry() -> CollectorRegistry:
    """A registry with the metrics of the process itself."""
    # without this, each counter has a second series with the time of its creation
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """The page that Prometheus reads."""
    return generate_latest(registry)


def reference(definitions: Iterable[MetricDefinition]) -> str:
    """The table of metrics in Markdown, those of the process itself included."""
    rows: list[tuple[str, str, str, str]] = [(d.name, d.kind, ", ".join(d.labels), d.meaning) for d in definitions]
    for family in new_registry().collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        rows.append((name, family.type, "", family.documentation))
    lines = [f"| `{name}` | {kind} | {labels} | {meaning} |" for name, kind, labels, meaning in rows]
    return "\n".join(["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |", *lines, ""])
