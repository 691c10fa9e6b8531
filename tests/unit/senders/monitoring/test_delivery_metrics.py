"""Metrics and health of a delivery worker: what is counted, and when it is ready."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.kafka.topics import TopicPartition
from infra.service.health import Phase, State
from infra.service.metrics import reference
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from schemas.vocabulary import DeadLetterCause, LedgerState, ReplyClass
from senders.delivery.mail_observer import SentMail
from senders.monitoring.gauges import MAX_BUDGETS, PartitionBacklog
from senders.monitoring.health import DeliveryHealth
from senders.monitoring.metrics import DEFINITIONS, Readings, SenderMetrics
from senders.monitoring.provider_metrics import MAX_PROVIDERS, MAX_PURPOSES

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "metrics.md"


def value(metrics: SenderMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"ebbtide_senders_{name}", labels)


def test_the_documented_metrics_of_delivery_are_those_that_exist() -> None:
    assert reference(DEFINITIONS) in DOCUMENT.read_text(), f"stale; the table is:\n{reference(DEFINITIONS)}"


def test_an_answer_counts_as_an_attempt_and_a_final_one_as_a_settled_command() -> None:
    metrics = SenderMetrics()
    metrics.answered(LedgerState.DEFERRED, "rate")
    metrics.answered(LedgerState.ACCEPTED, None)
    metrics.taken_back()
    metrics.lost(2)
    assert value(metrics, "attempts_total", outcome="deferred", reason="rate") == 1
    assert value(metrics, "attempts_total", outcome="accepted", reason="") == 1
    assert value(metrics, "attempts_total", outcome="taken_back", reason="") == 1
    assert value(metrics, "attempts_total", outcome="in_doubt", reason="worker_lost") == 2
    assert value(metrics, "commands_settled_total", state="accepted", reason="") == 1
    assert value(metrics, "commands_settled_total", state="deferred", reason="rate") is None


def test_commands_that_end_or_wait_without_a_mail_are_counted_by_reason() -> None:
    metrics = SenderMetrics()
    metrics.admitted(5)
    metrics.settled(LedgerState.EXPIRED, None)
    metrics.withheld(3)
    metrics.postponed("consent_stale")
    metrics.dead_letter(DeadLetterCause.MISROUTED)
    metrics.stalled(TopicPartition("commands", 1))
    assert value(metrics, "commands_admitted_total") == 5
    assert value(metrics, "commands_settled_total", state="expired", reason="") == 1
    assert value(metrics, "commands_settled_total", state="suppressed", reason="no_recipient") == 3
    assert value(metrics, "commands_postponed_total", reason="consent_stale") == 1
    assert value(metrics, "dead_letters_total", cause="misrouted") == 1
    assert value(metrics, "fetch_stalls_total") == 1


def a_mail(state: LedgerState, reason: str | None = None, **changes: Any) -> SentMail:
    fields: dict[str, Any] = {
        "provider": "google",
        "purpose": "marketing",
        "is_first": True,
        "begun_age_s": 0.3,
        "ended_age_s": 0.7,
        "state": state,
        "reason": reason,
    }
    return SentMail(**(fields | changes))


def test_mails_count_by_provider_purpose_and_how_they_ended() -> None:
    metrics, way = SenderMetrics(), {"provider": "google", "purpose": "marketing"}
    metrics.sent(a_mail(LedgerState.ACCEPTED))
    metrics.sent(a_mail(LedgerState.DEFERRED, ReplyClass.RATE_LIMITED))
    metrics.sent(a_mail(LedgerState.DEFERRED, ReplyClass.SPAM_BLOCK))
    metrics.sent(a_mail(LedgerState.REFUSED, ReplyClass.INVALID_RECIPIENT, hard=True))
    metrics.sent(a_mail(LedgerState.REFUSED, ReplyClass.CONTENT_RELATED))
    metrics.sent(a_mail(LedgerState.IN_DOUBT, "no_reply"))
    answers = ["accepted", "deferred", "blocked", "bounced", "refused", "in_doubt"]
    assert [value(metrics, "mail_answers_total", **way, answer=each) for each in answers] == [1.0] * 6


def test_the_time_to_the_first_attempt_and_until_a_mail_is_taken_are_observed_once_a_command() -> None:
    metrics, way = SenderMetrics(), {"provider": "other", "purpose": "marketing"}
    metrics.sent(a_mail(LedgerState.DEFERRED, provider=""))
    metrics.sent(a_mail(LedgerState.ACCEPTED, provider="", is_first=False, begun_age_s=60.0, ended_age_s=61.0))
    metrics.sent(
        a_mail(LedgerState.ACCEPTED, provider="", begun_age_s=-3.0, ended_age_s=-2.0)
    )  # a clock that is behind
    assert value(metrics, "first_attempt_seconds_count", **way) == 2
    assert value(metrics, "first_attempt_seconds_bucket", **way, le="0.4") == 2
    assert value(metrics, "first_attempt_seconds_sum", **way) == 0.3
    assert value(metrics, "accepted_seconds_bucket", **way, le="60.0") == 1
    assert value(metrics, "accepted_seconds_count", **way) == 2


def test_the_labels_of_mails_are_bounded_whatever_providers_and_purposes_come() -> None:
    metrics = SenderMetrics()
    for number in range(1000):
        metrics.sent(a_mail(LedgerState.ACCEPTED, provider=f"p{number}", purpose=f"purpose{number}"))
        metrics.reported("complained", f"p{number}", f"purpose{number}")
    [answers] = [each for each in metrics.registry.collect() if each.name == "ebbtide_senders_mail_answers"]
    labels = [sample.labels for sample in answers.samples]
    assert len({each["provider"] for each in labels}) == MAX_PROVIDERS + 1
    assert len({each["purpose"] for each in labels}) == MAX_PURPOSES + 1
    assert sum(sample.value for sample in answers.samples) == 1000
    assert value(metrics, "mail_reports_total", provider="other", purpose="other", kind="complained") == 900


def test_what_budgets_hold_is_counted_by_a_bounded_number_of_names() -> None:
    metrics = SenderMetrics()
    for number in range(MAX_BUDGETS + 5):
        metrics.held(f"trigger/t{number}", 2)
    assert value(metrics, "budget_held_total", budget="trigger/t0") == 2
    assert value(metrics, "budget_held_total", budget="other") == 10


def test_an_unknown_value_has_no_series() -> None:
    metrics, kafka = SenderMetrics(restarts=4), Outage("kafka")
    kafka.away(OSError("refused"))
    backlog = [PartitionBacklog(7, due=2, waiting=3, oldest_due_age_s=None, outbox=1, in_doubt=4, view_age_s=None)]
    lags, held = {("ebbtide-senders", 7): 9}, {"trigger/winback": 5}
    metrics.read(Readings(lambda: True, lambda: 6, list, [kafka], lambda: backlog, lambda: lags, lambda: held))
    assert value(metrics, "commands_due", partition="7") == 2
    assert value(metrics, "commands_waiting", partition="7") == 3
    assert value(metrics, "commands_in_doubt", partition="7") == 4
    assert value(metrics, "oldest_due_age_seconds", partition="7") is None
    assert value(metrics, "recipients_view_age_seconds", partition="7") is None
    assert value(metrics, "lag_records", group="ebbtide-senders", partition="7") == 9
    assert value(metrics, "budget_waiting", budget="trigger/winback") == 5
    assert value(metrics, "server_away", server="kafka") == 1
    assert value(metrics, "restarts_total") == 4
    names = {family.name for family in text_string_to_metric_families(metrics.page().decode())}
    assert "process_resident_memory_bytes" in names
    assert not [name for name in names if name.endswith("_created")]


@pytest.fixture
def arriving() -> set[int]:
    return set()


@pytest.fixture
def timescale() -> Outage:
    return Outage("timescale")


@pytest.fixture
def health(arriving: set[int], timescale: Outage) -> DeliveryHealth:
    return DeliveryHealth(0, 0, lambda: arriving, lambda: {1, 2}, [timescale, Outage("relay")], Watchdog())


def test_a_worker_is_ready_once_it_holds_its_partitions_and_its_servers_answer(
    health: DeliveryHealth, arriving: set[int], timescale: Outage
) -> None:
    seen = [health.state().phase]
    arriving.update({1, 2})
    health.assigned()
    seen.append(health.state().phase)
    arriving.clear()
    seen.append(health.state().phase)
    timescale.away(psycopg.OperationalError("refused"))
    assert health.state() == State(Phase.WAITING, "waits for timescale")
    timescale.back()
    seen.append(health.state().phase)
    health.revoked()
    seen.append(health.state().phase)
    health.stops()
    health.assigned()
    seen.append(health.state().phase)
    assert seen == [
        Phase.STARTING,
        Phase.RECOVERING,
        Phase.READY,
        Phase.READY,
        Phase.REBALANCING,
        Phase.STOPPING,
    ]


def test_a_worker_without_partitions_is_ready_and_stands_by(health: DeliveryHealth) -> None:
    health.assigned()
    assert health.ready


def test_a_worker_is_unhealthy_while_one_of_its_tasks_makes_no_progress(timescale: Outage) -> None:
    watchdog = Watchdog(bound_s=0.0)
    health = DeliveryHealth(0, 0, set, set, [timescale], watchdog)
    watchdog.beat()
    assert health.why_unhealthy() is None
    assert watchdog.look(1e12)
    assert health.why_unhealthy() == "stalled: MainThread"
    watchdog.beat()
    assert health.why_unhealthy() is None
