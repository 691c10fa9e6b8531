"""What an HTTP process shows of itself: its health and its metrics. The table in docs/metrics.md is DEFINITIONS."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from prometheus_client.metrics_core import Metric

from infra.service.health import Health, Phase, State
from infra.service.metrics import (
    SECONDS,
    Distribution,
    MetricDefinition,
    ScrapeCollector,
    new_registry,
    render,
)
from infra.service.outages import Outage
from web.recipients.hit_recorder import NO_HITS, HitCounts

REQUESTS = MetricDefinition(
    "ebbtide_web_requests_total",
    "counter",
    ("call", "status"),
    "Requests answered, by call (`track`, `batch`, `pages` …) and HTTP status. `other` is a path that there is not.",
)
EVENTS = MetricDefinition(
    "ebbtide_web_events_total",
    "counter",
    ("result",),
    "Items of calls: events that Kafka acknowledged (`accepted`), patches and links that are stored (`patched`), items "
    "that are not taken (`refused`), items of calls that were answered with 429 or 503 (`postponed`), and events of "
    "erased people (`dropped`).",
)
ACKNOWLEDGED = MetricDefinition(
    "ebbtide_web_acknowledge_seconds", "histogram", (), "From a call's events to their acknowledgement by Kafka."
)
OUTSTANDING = MetricDefinition("ebbtide_web_outstanding_events", "gauge", (), "Events that wait for Kafka.")
OUTSTANDING_BYTES = MetricDefinition("ebbtide_web_outstanding_bytes", "gauge", (), "Their bytes.")
IN_FLIGHT = MetricDefinition("ebbtide_web_requests_in_flight", "gauge", (), "Requests that have no answer yet.")
READY = MetricDefinition("ebbtide_web_ready", "gauge", (), "1 while the process takes events, otherwise 0.")
AWAY = MetricDefinition(
    "ebbtide_web_server_away", "gauge", ("server",), "1 while `kafka` or `ledger` does not answer, otherwise 0."
)
HITS = MetricDefinition(
    "ebbtide_web_hits_total", "counter", ("kind", "evidence"), "Opens and clicks that were recorded, by their evidence."
)
HITS_WAITING = MetricDefinition("ebbtide_web_hits_waiting", "gauge", (), "Opens and clicks that are not recorded yet.")
HITS_DROPPED = MetricDefinition(
    "ebbtide_web_hits_dropped_total", "counter", (), "Opens and clicks that were not recorded, because too many waited."
)
DEFINITIONS = (
    *(REQUESTS, EVENTS, ACKNOWLEDGED, OUTSTANDING, OUTSTANDING_BYTES, IN_FLIGHT, READY, AWAY),
    *(HITS, HITS_WAITING, HITS_DROPPED),
)


class WebMetrics:
    """Counts requests, events and waits, in the event loop's thread. `name_of` gives the call of a path."""

    def __init__(self, name_of: Callable[[str], str]) -> None:
        self.registry = new_registry()
        self._name_of = name_of
        self._requests: Counter[tuple[str, int]] = Counter()
        self._events: Counter[str] = Counter()
        self._acknowledged = Distribution(SECONDS)

    def watch(
        self,
        health: Health,
        outages: Sequence[Outage],
        waiting: Callable[[], tuple[int, int]],
        in_flight: Callable[[], int],
        hits: Callable[[], HitCounts] = lambda: NO_HITS,
    ) -> None:
        """Shows these too: the health, how many events and bytes wait, requests in flight, and opens and clicks."""

        def read() -> Iterable[Metric]:
            events, size = waiting()
            yield REQUESTS.counts(((call, str(status)), count) for (call, status), count in self._requests.items())
            yield EVENTS.counts(((result,), count) for result, count in self._events.items())
            yield ACKNOWLEDGED.distribution(self._acknowledged)
            yield OUTSTANDING.gauge([((), float(events))])
            yield OUTSTANDING_BYTES.gauge([((), float(size))])
            yield IN_FLIGHT.gauge([((), float(in_flight()))])
            yield READY.gauge([((), float(health.ready))])
            yield AWAY.gauge(((outage.server,), float(outage.is_away)) for outage in outages)
            recorded, dropped, waiting_hits = hits()
            yield HITS.counts(recorded.items())
            yield HITS_WAITING.gauge([((), float(waiting_hits))])
            yield HITS_DROPPED.count(dropped)

        self.registry.register(ScrapeCollector(read))

    def answered(self, path: str, status: int) -> None:
        """A request got an answer."""
        self._requests[self._name_of(path), status] += 1

    def acknowledged(self, seconds: float) -> None:
        """Kafka has all events of a call."""
        self._acknowledged.add(seconds)

    def counted(self, result: str, items: int) -> None:
        """So many items of a call came to this."""
        if items:
            self._events[result] += items

    def page(self) -> bytes:
        """The metrics page."""
        return render(self.registry)


class WebHealth(Health):
    """Ready while it takes events. Without Kafka it takes none; without PostgreSQL, still those that hold no patch."""

    def __init__(self, slot: int, restarts: int, kafka: Outage) -> None:
        super().__init__(slot, restarts)
        self._kafka = kafka
        self._phase = Phase.STARTING

    def enters(self, phase: Phase) -> None:
        """The process has begun or ends."""
        self._phase = phase

    def state(self) -> State:
        """The phase as it is now."""
        if self._phase is Phase.READY and self._kafka.is_away:
            return State(Phase.WAITING, "waits for kafka")
        return State(self._phase, None if self._phase is Phase.READY else self._phase.value)

    def why_unhealthy(self) -> str | None:
        """Nothing: a loop that hangs does not answer."""
        return None

    def held_partitions(self) -> Collection[int]:
        """None: it has no partitions."""
        return ()
