"""What providers do with mails of each purpose: how soon they take them, and how they answer.

Each label is bounded: the providers are those of the shaping file, at most 100 of them, and the purposes the first 20;
whatever else comes counts as `other`.
"""

from enum import StrEnum

from prometheus_client import CollectorRegistry

from infra.service.metrics import BoundedLabel, MetricDefinition
from schemas.vocabulary import BLOCKS, LedgerState
from senders.delivery.mail_observer import SentMail

MAX_PROVIDERS = 100
MAX_PURPOSES = 20
_AGES_S = (0.05, 0.1, 0.25, 0.4, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0)
_WAY = ("provider", "purpose")

ANSWERS = MetricDefinition(
    "ebbtide_senders_mail_answers_total",
    "counter",
    (*_WAY, "answer"),
    "Mail transactions by how they ended: `accepted`, `deferred`, `blocked` (the receiver refuses us, not the mail), "
    "`bounced` (the address takes no mail), `refused` (for another reason), `failed`, `in_doubt`.",
)
FIRST_ATTEMPT = MetricDefinition(
    "ebbtide_senders_first_attempt_seconds",
    "histogram",
    _WAY,
    "From a command's decision to the begin of its first mail transaction, observed when that has ended.",
)
TIME_TO_ACCEPTED = MetricDefinition(
    "ebbtide_senders_accepted_seconds",
    "histogram",
    _WAY,
    "From a command's decision until a server has taken its mail.",
)
REPORTS = MetricDefinition(
    "ebbtide_senders_mail_reports_total",
    "counter",
    (*_WAY, "kind"),
    "What came back for mails that were taken: `bounced` or `complained`. One that is read a second time counts again.",
)


class MailAnswer(StrEnum):
    """How a mail transaction ended, as providers are compared."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    BLOCKED = "blocked"
    BOUNCED = "bounced"
    REFUSED = "refused"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"

    @classmethod
    def of(cls, mail: SentMail) -> "MailAnswer":
        """The answer that a transaction ended with. A block is one whether its code is final or not."""
        if mail.state is LedgerState.REFUSED and mail.hard:
            return cls.BOUNCED
        if mail.reason in BLOCKS:
            return cls.BLOCKED
        return cls(mail.state)


class ProviderMetrics:
    """Safe in any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._provider, self._purpose = BoundedLabel(MAX_PROVIDERS), BoundedLabel(MAX_PURPOSES)
        self._answers = ANSWERS.counter(registry)
        self._first = FIRST_ATTEMPT.histogram(registry, _AGES_S)
        self._accepted = TIME_TO_ACCEPTED.histogram(registry, _AGES_S)
        self._reports = REPORTS.counter(registry)

    def sent(self, mail: SentMail) -> None:
        """Counts a transaction. Clocks may differ: no age is below 0."""
        way = self._provider.of(mail.provider), self._purpose.of(mail.purpose)
        self._answers.labels(*way, MailAnswer.of(mail)).inc()
        if mail.is_first:
            self._first.labels(*way).observe(max(0.0, mail.begun_age_s))
        if mail.state is LedgerState.ACCEPTED:
            self._accepted.labels(*way).observe(max(0.0, mail.ended_age_s))

    def reported(self, kind: str, provider: str, purpose: str) -> None:
        """Counts a report."""
        self._reports.labels(self._provider.of(provider), self._purpose.of(purpose), kind).inc()
