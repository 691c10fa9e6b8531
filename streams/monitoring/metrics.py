"""The metrics of a stream worker. The table in docs/metrics.md is made from DEFINITIONS, which a test checks.

A checkpoint is counted when it is committed, so work that was undone never counts. A committed record counts once in
all workers together, because it was applied once.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from prometheus_client.metrics_core import Metric

from infra.kafka.topics import TopicPartition
from infra.service.metrics import SECONDS, MetricDefinition, ScrapeCollector, new_registry, render
from streams.decisions.counts import DEAD_LETTERED, DECIDED, FAILED, FORGOTTEN, UNDECIDED
from streams.monitoring.gauges import Gauge
from streams.runtime.checkpoint import Transaction
from streams.runtime.commit import CommitOutcome
from streams.runtime.observer import Observer

RECORDS = (1, 10, 100, 1_000, 10_000, 100_000)


APPLIED = MetricDefinition(
    "ebbtide_streams_records_applied_total", "counter", ("topic",), "Records of each input applied and committed."
)
WRITTEN = MetricDefinition(
    "ebbtide_streams_records_written_total",
    "counter",
    ("topic",),
    "Records committed to each topic: commands, decisions, dead letters, journal, state.",
)
DECISIONS = MetricDefinition(
    "ebbtide_streams_decisions_total", "counter", ("outcome", "reason"), "Decisions; `reason` is empty where one sends."
)
NOT_DECIDED = MetricDefinition(
    "ebbtide_streams_undecided_total",
    "counter",
    ("what",),
    "What led to no decision: a duplicate event, one too old to begin anything (`stale`), a clamped time, a "
    "profile whose zone is no IANA name (`unknown_zone`) or a timer that made the core fail (`timer_skipped`). Of "
    "events without a user: those that went to every partition (`broadcast`), those that nothing waits for "
    "(`unheard`), and the users whom they met (`reached`).",
)
PROBLEMS = MetricDefinition(
    "ebbtide_streams_rule_problems_total",
    "counter",
    ("rule", "place", "cause"),
    "Expressions that failed, by rule, place and cause: a field that is missing (`expression`), or of `on.date` and "
    "`until` a value that is no date (`not_a_date`, `no_such_day`, `year_out_of_range`, `number_out_of_range`).",
)
FORGETS = MetricDefinition(
    "ebbtide_streams_forgotten_total",
    "counter",
    ("rule", "what"),
    "What a bound on memory (docs/triggers.md) made a rule, `metric/NAME` or `score/NAME` forget of a user.",
)
LETTERS = MetricDefinition(
    "ebbtide_streams_dead_letters_total", "counter", ("cause",), "Dead letters written, by cause."
)
CHECKPOINT_S = MetricDefinition(
    "ebbtide_streams_checkpoint_seconds", "histogram", (), "From a checkpoint's first record written to its commit."
)
CHECKPOINT_RECORDS = MetricDefinition(
    "ebbtide_streams_checkpoint_records", "histogram", (), "Records that a checkpoint wrote."
)
CHECKPOINTS_LOST = MetricDefinition(
    "ebbtide_streams_checkpoints_lost_total",
    "counter",
    (),
    "Checkpoints that failed because another worker had the partitions.",
)
FAILURES = MetricDefinition(
    "ebbtide_streams_checkpoint_failures_total",
    "counter",
    (),
    "Transactions that failed, including those that a retry committed.",
)
REBALANCES = MetricDefinition(
    "ebbtide_streams_rebalances_total", "counter", (), "Assignments of partitions to this worker."
)
STALLS = MetricDefinition(
    "ebbtide_streams_fetch_stalls_total",
    "counter",
    (),
    "Partitions that delivered nothing although they held more records, and were fetched again.",
)
RECOVERY_S = MetricDefinition(
    "ebbtide_streams_recovery_seconds", "histogram", (), "From an assignment to the first record processed."
)
RESTARTS = MetricDefinition("ebbtide_streams_restarts_total", "counter", (), "Restarts of this slot by the supervisor.")
READY = MetricDefinition(
    "ebbtide_streams_ready", "gauge", (), "1 while the worker processes its partitions, otherwise 0."
)
LAG = MetricDefinition(
    "ebbtide_streams_lag_records", "gauge", ("partition",), "Records of the partition's inputs not yet applied."
)
CLOCK_LAG = MetricDefinition(
    "ebbtide_streams_clock_lag_seconds",
    "gauge",
    ("partition",),
    "How far the partition's clock lags behind the time of day; timers are late by as much.",
)
USERS = MetricDefinition("ebbtide_streams_users", "gauge", ("partition",), "Users with state.")
STATE = MetricDefinition(
    "ebbtide_streams_state_bytes",
    "gauge",
    ("partition",),
    "Keys and values of that state, estimated from a sample of it.",
)
TIMERS = MetricDefinition("ebbtide_streams_timers", "gauge", ("partition",), "Users with a timer pending.")

DEFINITIONS = (
    *(APPLIED, WRITTEN, DECISIONS, NOT_DECIDED, PROBLEMS, FORGETS, LETTERS),
    *(CHECKPOINT_S, CHECKPOINT_RECORDS, CHECKPOINTS_LOST, FAILURES),
    *(REBALANCES, STALLS, RECOVERY_S, RESTARTS, READY),
    *(LAG, CLOCK_LAG, USERS, STATE, TIMERS),
)


class Metrics(Observer):
    """The metrics of one worker. Each scrape calls `failures`, `ready` and `gauges`."""

    def __init__(
        self,
        failures: Callable[[], int],
        ready: Callable[[], bool],
        gauges: Callable[[], Iterable[Gauge]],
        restarts: int = 0,
    ) -> None:
        registry = self.registry = new_registry()
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
        registry.register(ScrapeCollector(lambda: _gauges(failures, ready, gauges)))

    def page(self) -> bytes:
        """The page that Prometheus reads."""
        return render(self.registry)

    def assigned(self, partitions: Collection[int]) -> None:
        """Counts the rebalance."""
        del partitions
        self._rebalances.inc()

    def recovered(self, partitions: Collection[int], took_s: float) -> None:
        """Observes the duration."""
        del partitions
        self._recoveries.observe(took_s)

    def stalled(self, place: TopicPartition) -> None:
        """Counts it; the log names the partition."""
        del place
        self._stalls.inc()

    def checkpointed(self, transaction: Transaction, outcome: CommitOutcome, took_s: float) -> None:
        """Counts what was committed."""
        if outcome is not CommitOutcome.OK:
            self._lost.inc()
            return
        self._seconds.observe(took_s)
        written = transaction.records_by_topic()
        self._records.observe(written.total())
        for topic, count in written.items():
            self._written.labels(topic).inc(count)
        for place, count in transaction.applied.items():
            self._applied.labels(place.topic).inc(count)
        self._count(transaction.counts)

    def _count(self, counts: Mapping[tuple[str, ...], int]) -> None:
        for (name, *labels), count in counts.items():
            self._counted[name].labels(*labels).inc(count)


def _gauges(
    failures: Callable[[], int], ready: Callable[[], bool], gauges: Callable[[], Iterable[Gauge]]
) -> Iterator[Metric]:
    """What each scrape reads anew, with a value for each partition held."""
    yield FAILURES.count(failures())
    yield READY.gauge([((), float(ready()))])
    held = {(str(g.partition),): g for g in gauges()}
    yield LAG.gauge((labels, g.lag) for labels, g in held.items())
    yield CLOCK_LAG.gauge((labels, g.clock_lag_s) for labels, g in held.items())
    yield USERS.gauge((labels, g.entries) for labels, g in held.items())
    yield STATE.gauge((labels, g.state_bytes) for labels, g in held.items())
    yield TIMERS.gauge((labels, g.timers) for labels, g in held.items())
