"""The metrics of a delivery worker. The table in docs/metrics.md is made from DEFINITIONS, which a test checks.

A change of the ledger is counted once it is durable.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from infra.kafka.observer import ReaderObserver
from infra.kafka.topics import TopicPartition
from infra.service.metrics import BoundedLabel, MetricDefinition, ScrapeCollector, new_registry, render
from infra.service.outages import Outage
from schemas.vocabulary import DeadLetterCause, DeliveryReason, LedgerState, SuppressionReason
from senders.delivery.mail_observer import MailObserver, SentMail
from senders.monitoring.gauges import MAX_BUDGETS, PartitionBacklog
from senders.monitoring.provider_metrics import ANSWERS, FIRST_ATTEMPT, REPORTS, TIME_TO_ACCEPTED, ProviderMetrics
from senders.queue.observer import LedgerObserver

TAKEN_BACK = "taken_back"

ADMITTED = MetricDefinition(
    "ebbtide_senders_commands_admitted_total", "counter", (), "Commands that are new in the ledger."
)
SETTLED = MetricDefinition(
    "ebbtide_senders_commands_settled_total",
    "counter",
    ("state", "reason"),
    "Commands by final state: `accepted`, `refused`, `expired`, `suppressed`, `failed`.",
)
POSTPONED = MetricDefinition(
    "ebbtide_senders_commands_postponed_total",
    "counter",
    ("reason",),
    "Commands that wait without an attempt, such as `consent_stale` or `template_missing`.",
)
ATTEMPTS = MetricDefinition(
    "ebbtide_senders_attempts_total",
    "counter",
    ("outcome", "reason"),
    "Mail transactions by outcome: the command's new state, or `taken_back` if the server took nothing and the attempt "
    "does not count. An attempt of a lost worker counts as `in_doubt` with the reason `worker_lost`.",
)
LETTERS = MetricDefinition(
    "ebbtide_senders_dead_letters_total", "counter", ("cause",), "Dead letters written, by cause."
)
STALLS = MetricDefinition(
    "ebbtide_senders_fetch_stalls_total",
    "counter",
    (),
    "Partitions that delivered nothing although they held more records, and were fetched again.",
)
RESTARTS = MetricDefinition("ebbtide_senders_restarts_total", "counter", (), "Restarts of this slot by the supervisor.")
CALLS = MetricDefinition(
    "ebbtide_senders_webhook_calls_total",
    "counter",
    ("endpoint", "outcome"),
    "Calls of endpoints by what followed: `accepted`, `deferred`, or `in_doubt` where no answer was seen.",
)
SUSPENDED = MetricDefinition(
    "ebbtide_senders_endpoint_suspended", "gauge", ("endpoint",), "1 for each endpoint that gets no webhook now."
)
MAX_ENDPOINTS = 100
READY = MetricDefinition(
    "ebbtide_senders_ready", "gauge", (), "1 while the worker holds its partitions and its servers answer, otherwise 0."
)
IN_FLIGHT = MetricDefinition("ebbtide_senders_mails_in_flight", "gauge", (), "Mail transactions that run now.")
AWAY = MetricDefinition(
    "ebbtide_senders_server_away",
    "gauge",
    ("server",),
    "1 while `kafka`, `timescale`, `ledger` (if it has its own database) or `relay` (the mail server) does not answer, "
    "otherwise 0.",
)
DUE = MetricDefinition(
    "ebbtide_senders_commands_due",
    "gauge",
    ("partition",),
    "Commands whose time has come. Of more than 100,000 due and waiting commands, only the first 100,000 count.",
)
WAITING = MetricDefinition(
    "ebbtide_senders_commands_waiting",
    "gauge",
    ("partition",),
    "Commands whose time comes later: retries, and commands that were postponed.",
)
OLDEST_DUE = MetricDefinition(
    "ebbtide_senders_oldest_due_age_seconds",
    "gauge",
    ("partition",),
    "How long the oldest due command has been due.",
)
OUTBOX = MetricDefinition(
    "ebbtide_senders_outbox_rows", "gauge", ("partition",), "Outcomes that are not published yet, at most 100,000."
)
IN_DOUBT = MetricDefinition(
    "ebbtide_senders_commands_in_doubt",
    "gauge",
    ("partition",),
    "Commands that were handed over and whose answer is unknown, at most 100,000; `resend` purposes are due again.",
)
HELD = MetricDefinition(
    "ebbtide_senders_budget_held_total",
    "counter",
    ("budget",),
    "Commands that a budget held when they came: more than it allows. The first 100 budgets are named, others are "
    "`other`.",
)
HELD_NOW = MetricDefinition(
    "ebbtide_senders_budget_waiting",
    "gauge",
    ("budget",),
    "Commands that a budget holds until a person releases or discards them, or they expire.",
)
VIEW_AGE = MetricDefinition(
    "ebbtide_senders_recipients_view_age_seconds",
    "gauge",
    ("partition",),
    "How far the recipients view is behind; marketing waits above `EBBTIDE_CONSENT_STALE_S`.",
)
LAG = MetricDefinition(
    "ebbtide_senders_lag_records",
    "gauge",
    ("group", "partition"),
    "Records that a consumer group of this worker has not processed.",
)
DEFINITIONS = (
    *(ADMITTED, SETTLED, POSTPONED, ATTEMPTS, ANSWERS, FIRST_ATTEMPT, TIME_TO_ACCEPTED, REPORTS),
    *(HELD, CALLS, SUSPENDED, LETTERS, STALLS, RESTARTS),
    *(READY, IN_FLIGHT, AWAY, DUE, WAITING, OLDEST_DUE, OUTBOX, IN_DOUBT, HELD_NOW, VIEW_AGE, LAG),
)


@dataclass(frozen=True, slots=True)
class Readings:
    """What each scrape reads anew."""

    ready: Callable[[], bool]
    in_flight: Callable[[], int]
    suspended: Callable[[], Iterable[str]]
    outages: Iterable[Outage]
    backlog: Callable[[], Iterable[PartitionBacklog]]
    lags: Callable[[], Mapping[tuple[str, int], int]]
    held: Callable[[], Mapping[str, int]]
    """Commands that wait, by budget."""


class SenderMetrics(LedgerObserver, MailObserver, ReaderObserver):
    """The metrics of one worker. Its counters are safe in any thread."""

    def __init__(self, restarts: int = 0) -> None:
        registry = self.registry = new_registry()
        self._admitted = ADMITTED.counter(registry)
        self._settled = SETTLED.counter(registry)
        self._postponed = POSTPONED.counter(registry)
        self._attempts = ATTEMPTS.counter(registry)
        self._providers = ProviderMetrics(registry)
        self._held, self._budget = HELD.counter(registry), BoundedLabel(MAX_BUDGETS)
        self._endpoint, self._calls = BoundedLabel(MAX_ENDPOINTS), CALLS.counter(registry)
        self._letters = LETTERS.counter(registry)
        self._stalls = STALLS.counter(registry)
        RESTARTS.counter(registry).inc(restarts)

    def read(self, readings: Readings) -> None:
        """Adds the gauges."""
        self.registry.register(ScrapeCollector(lambda: _gauges(readings)))

    def page(self) -> bytes:
        """The page that Prometheus reads."""
        return render(self.registry)

    def admitted(self, count: int) -> None:
        """Counts them."""
        self._admitted.inc(count)

    def held(self, budget: str, count: int) -> None:
        """Counts them by budget."""
        self._held.labels(self._budget.of(budget)).inc(count)

    def answered(self, state: LedgerState, reason: str | None) -> None:
        """Counts the attempt, and the command if it ended."""
        self._attempts.labels(state, reason or "").inc()
        if state.terminal:
            self.settled(state, reason)

    def taken_back(self) -> None:
        """Counts the attempt."""
        self._attempts.labels(TAKEN_BACK, "").inc()

    def settled(self, state: LedgerState, reason: str | None) -> None:
        """Counts the command."""
        if state.terminal:
            self._settled.labels(state, reason or "").inc()

    def postponed(self, reason: str | None) -> None:
        """Counts the command."""
        self._postponed.labels(reason or "").inc()

    def sent(self, mail: SentMail) -> None:
        """Counts it by provider and purpose."""
        self._providers.sent(mail)

    def called(self, endpoint: str, state: LedgerState) -> None:
        """Counts it by endpoint."""
        self._calls.labels(self._endpoint.of(endpoint), state).inc()

    def reported(self, kind: str, provider: str, purpose: str) -> None:
        """Counts it by provider and purpose."""
        self._providers.reported(kind, provider, purpose)

    def lost(self, count: int) -> None:
        """Counts them as attempts."""
        self._attempts.labels(LedgerState.IN_DOUBT, DeliveryReason.WORKER_LOST).inc(count)

    def withheld(self, count: int) -> None:
        """Counts them as suppressed."""
        self._settled.labels(LedgerState.SUPPRESSED, SuppressionReason.NO_RECIPIENT).inc(count)

    def dead_letter(self, cause: DeadLetterCause) -> None:
        """Counts it."""
        self._letters.labels(cause).inc()

    def stalled(self, place: TopicPartition) -> None:
        """Counts it; the log names the partition."""
        del place
        self._stalls.inc()


def _gauges(readings: Readings) -> Iterator[Metric]:
    """The gauges, with a value for each partition held."""
    yield READY.gauge([((), float(readings.ready()))])
    yield IN_FLIGHT.gauge([((), readings.in_flight())])
    yield AWAY.gauge(((outage.server,), float(outage.is_away)) for outage in readings.outages)
    yield SUSPENDED.gauge(((endpoint,), 1.0) for endpoint in [*readings.suspended()][:MAX_ENDPOINTS])
    held = {(str(gauge.partition),): gauge for gauge in readings.backlog()}
    yield DUE.gauge((labels, gauge.due) for labels, gauge in held.items())
    yield WAITING.gauge((labels, gauge.waiting) for labels, gauge in held.items())
    yield OLDEST_DUE.gauge((labels, gauge.oldest_due_age_s) for labels, gauge in held.items())
    yield OUTBOX.gauge((labels, gauge.outbox) for labels, gauge in held.items())
    yield IN_DOUBT.gauge((labels, gauge.in_doubt) for labels, gauge in held.items())
    yield HELD_NOW.gauge(((name,), count) for name, count in readings.held().items())
    yield VIEW_AGE.gauge((labels, gauge.view_age_s) for labels, gauge in held.items())
    yield LAG.gauge(((group, str(number)), lag) for (group, number), lag in readings.lags().items())
