"""Metrics and health of a profile worker."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from infra.kafka.topics import TopicPartition
from infra.service.health import Phase, State
from infra.service.metrics import reference
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from schemas.vocabulary import DeadLetterCause
from web.publication.backlog import OutboxBacklog, UnpublishedEntries
from web.publication.monitoring import DEFINITIONS, PublicationHealth, PublicationMetrics

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "metrics.md"


def test_the_documented_metrics_of_publication_are_those_that_exist() -> None:
    assert reference(DEFINITIONS) in DOCUMENT.read_text(), f"stale; the table is:\n{reference(DEFINITIONS)}"


def test_the_page_shows_what_waits_what_was_published_and_what_was_put_aside() -> None:
    ledger = Outage("ledger")
    health = PublicationHealth(0, 0, [ledger], Watchdog())
    backlog = OutboxBacklog({"live": UnpublishedEntries(3, 1.5), "import": UnpublishedEntries()}, {"profiles": 0.5})
    metrics = PublicationMetrics(health, [ledger], lambda: backlog)
    metrics.published(250)
    metrics.dead_letter(DeadLetterCause.INVALID)
    metrics.stalled(TopicPartition("events", 3))
    families = list(text_string_to_metric_families(metrics.page().decode()))
    found = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert found["ebbtide_profiles_published_total",] == 250
    assert found["ebbtide_profiles_outbox_entries", "live"] == 3
    assert found["ebbtide_profiles_outbox_oldest_seconds", "live"] == 1.5
    assert found["ebbtide_profiles_behind_seconds", "profiles"] == 0.5
    assert found["ebbtide_profiles_dead_letters_total", "invalid"] == 1
    assert found["ebbtide_profiles_fetch_stalls_total", "events"] == 1
    assert {definition.name for definition in DEFINITIONS} <= {family.name for family in families} | {
        f"{family.name}_total" for family in families
    }


def test_it_waits_for_a_server_that_is_away_from_its_start_to_its_end() -> None:
    ledger = Outage("ledger")
    health = PublicationHealth(2, 1, [ledger], Watchdog())
    assert health.state().phase is Phase.STARTING
    ledger.away(TimeoutError())
    assert health.state() == State(Phase.WAITING, "waits for ledger")
    ledger.back()
    health.enters(Phase.READY)
    assert (health.ready, health.why_unhealthy(), list(health.held_partitions())) == (True, None, [])
    ledger.away(TimeoutError())
    health.enters(Phase.STOPPING)
    assert health.state() == State(Phase.STOPPING, "stopping")
