"""What a profile worker shows of itself: its health and its metrics. The table in docs/metrics.md is DEFINITIONS."""

from collections.abc import Callable, Collection, Iterable, Sequence

from prometheus_client.metrics_core import Metric

from infra.kafka.observer import ReaderObserver
from infra.kafka.topics import TopicPartition
from infra.service.health import Health, Phase, State
from infra.service.metrics import MetricDefinition, ScrapeCollector, new_registry, render
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from schemas.vocabulary import DeadLetterCause
from web.publication.backlog import OutboxBacklog

PUBLISHED = MetricDefinition(
    "ebbtide_profiles_published_total", "counter", (), "Profiles and events that this worker published from the outbox."
)
OUTBOX = MetricDefinition(
    "ebbtide_profiles_outbox_entries",
    "gauge",
    ("kind",),
    "Profiles and events that are not published yet, at most 100,000 of each kind: what calls, pages and visitors "
    "changed (`live`), and after it what imports did (`import`). Each worker shows those of all.",
)
OLDEST = MetricDefinition(
    "ebbtide_profiles_outbox_oldest_seconds", "gauge", ("kind",), "How long the oldest of them waits; 0 if none does."
)
BEHIND = MetricDefinition(
    "ebbtide_profiles_behind_seconds",
    "gauge",
    ("reader",),
    "How long ago a reader was at the end of the partition where that is longest ago, over all workers: that of "
    "`profiles`, of `visitors` in `events`, and of consent in profiles (`consent-profiles`) and outcomes "
    "(`consent-outcomes`). No series before it was at the end of each.",
)
DEAD_LETTERS = MetricDefinition(
    "ebbtide_profiles_dead_letters_total", "counter", ("cause",), "Records that were put aside, by cause."
)
STALLS = MetricDefinition(
    "ebbtide_profiles_fetch_stalls_total",
    "counter",
    ("topic",),
    "How often a partition was fetched no more, and was fetched again by a seek.",
)
READY = MetricDefinition("ebbtide_profiles_ready", "gauge", (), "1 while the worker publishes, otherwise 0.")
AWAY = MetricDefinition(
    "ebbtide_profiles_server_away", "gauge", ("server",), "1 while `kafka` or `ledger` does not answer, otherwise 0."
)
DEFINITIONS = (PUBLISHED, OUTBOX, OLDEST, BEHIND, DEAD_LETTERS, STALLS, READY, AWAY)


class PublicationMetrics(ReaderObserver):
    """Counts what a worker publishes and puts aside. Safe in any thread."""

    def __init__(self, health: Health, outages: Sequence[Outage], backlog: Callable[[], OutboxBacklog]) -> None:
        self.registry = new_registry()
        self._published = PUBLISHED.counter(self.registry)
        self._dead_letters = DEAD_LETTERS.counter(self.registry)
        self._stalls = STALLS.counter(self.registry)

        def read() -> Iterable[Metric]:
            outbox, behind_s = backlog().outbox, backlog().behind_s
            yield OUTBOX.gauge(((kind,), float(waiting.entries)) for kind, waiting in outbox.items())
            yield OLDEST.gauge(((kind,), waiting.oldest_s) for kind, waiting in outbox.items())
            yield BEHIND.gauge(((reader,), seconds) for reader, seconds in behind_s.items())
            yield READY.gauge([((), float(health.ready))])
            yield AWAY.gauge(((outage.server,), float(outage.is_away)) for outage in outages)

        self.registry.register(ScrapeCollector(read))

    def published(self, entries: int) -> None:
        """So many entries of the outbox are in Kafka."""
        self._published.inc(entries)

    def dead_letter(self, cause: DeadLetterCause) -> None:
        """A record was put aside."""
        self._dead_letters.labels(cause).inc()

    def stalled(self, place: TopicPartition) -> None:
        """The partition stalled and is fetched again."""
        self._stalls.labels(place.topic).inc()

    def page(self) -> bytes:
        """The metrics page."""
        return render(self.registry)


class PublicationHealth(Health):
    """Ready while it publishes, or could if it were its turn. It waits for a broker or database that is away."""

    def __init__(self, slot: int, restarts: int, outages: Sequence[Outage], watchdog: Watchdog) -> None:
        super().__init__(slot, restarts)
        self._outages = outages
        self._watchdog = watchdog
        self._phase = Phase.STARTING

    def enters(self, phase: Phase) -> None:
        """The worker has begun or ends."""
        self._phase = phase

    def state(self) -> State:
        """The phase as it is now."""
        away = [outage.server for outage in self._outages if outage.is_away]
        if away and self._phase is not Phase.STOPPING:
            return State(Phase.WAITING, f"waits for {', '.join(away)}")
        return State(self._phase, None if self._phase is Phase.READY else self._phase.value)

    def why_unhealthy(self) -> str | None:
        """The names of the stalled tasks and threads; None if there are none."""
        stalled = self._watchdog.stalled()
        return f"stalled: {', '.join(stalled)}" if stalled else None

    def held_partitions(self) -> Collection[int]:
        """None: which of the workers reads a partition makes no difference."""
        return ()
