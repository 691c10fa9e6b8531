"""Metrics and health of an HTTP process."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from infra.service.health import Phase, State
from infra.service.metrics import reference
from infra.service.outages import Outage
from web.server.monitoring import DEFINITIONS, WebHealth, WebMetrics

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "metrics.md"


def test_the_documented_metrics_of_web_are_those_that_exist() -> None:
    assert reference(DEFINITIONS) in DOCUMENT.read_text(), f"stale; the table is:\n{reference(DEFINITIONS)}"


def test_the_page_shows_requests_events_and_waits() -> None:
    kafka = Outage("kafka")
    health = WebHealth(0, 0, kafka)
    health.enters(Phase.READY)
    metrics = WebMetrics(lambda path: path.rpartition("/")[2])
    metrics.watch(health, [kafka], lambda: (7, 900), lambda: 3)
    for status in (200, 200, 503):
        metrics.answered("/v1/track", status)
    metrics.counted("accepted", 100)
    metrics.counted("refused", 0)
    for seconds in (0.004, 0.02, 99.0):
        metrics.acknowledged(seconds)
    kafka.away(TimeoutError())
    families = list(text_string_to_metric_families(metrics.page().decode()))
    found = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert found["ebbtide_web_requests_total", "track", "200"] == 2
    assert found["ebbtide_web_requests_total", "track", "503"] == 1
    assert found["ebbtide_web_events_total", "accepted"] == 100
    assert ("ebbtide_web_events_total", "refused") not in found
    assert found["ebbtide_web_acknowledge_seconds_bucket", "0.005"] == 1
    assert found["ebbtide_web_acknowledge_seconds_bucket", "0.025"] == 2
    assert found["ebbtide_web_acknowledge_seconds_bucket", "+Inf"] == 3
    assert found["ebbtide_web_acknowledge_seconds_count",] == 3
    assert found["ebbtide_web_outstanding_events",] == 7
    assert found["ebbtide_web_requests_in_flight",] == 3
    assert (found["ebbtide_web_ready",], found["ebbtide_web_server_away", "kafka"]) == (0, 1)
    assert {definition.name for definition in DEFINITIONS} <= {family.name for family in families} | {
        f"{family.name}_total" for family in families
    }


def test_without_kafka_it_is_not_ready() -> None:
    kafka = Outage("kafka")
    health = WebHealth(2, 1, kafka)
    assert health.state().phase is Phase.STARTING
    health.enters(Phase.READY)
    assert health.state() == State(Phase.READY, None)
    kafka.away(TimeoutError())
    assert (health.state(), health.ready) == (State(Phase.WAITING, "waits for kafka"), False)
    kafka.back()
    health.enters(Phase.STOPPING)
    assert (health.ready, health.why_unhealthy(), list(health.held_partitions())) == (False, None, [])
