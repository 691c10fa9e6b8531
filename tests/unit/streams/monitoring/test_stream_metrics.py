"""Metrics, health and gauges of a worker: what they count, when, and what the pages show."""

from pathlib import Path

import confluent_kafka
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.kafka.connection import Connection
from infra.kafka.topics import TopicPartition
from infra.service.health import Phase
from infra.service.metrics import reference
from schemas.vocabulary import DecisionOutcome, Reason
from streams.decisions.counts import DEAD_LETTERED, DECIDED
from streams.faust.runtime import Runtime
from streams.faust.settings import RuntimeSettings
from streams.monitoring.gauges import Gauge
from streams.monitoring.health import STUCK_S, StreamHealth
from streams.monitoring.metrics import DEFINITIONS, Metrics
from streams.runtime.checkpoint import Buffer, OffsetMetadata, OffsetRange, Output, TableChanges, Transaction
from streams.runtime.clock import Batch, PartitionClock, Piece
from streams.runtime.commit import CommitOutcome

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "metrics.md"


class Watched:
    """Metrics over a failure count and gauges of the test's own."""

    def __init__(self) -> None:
        self.failures, self.ready, self.gauges = 0, True, [Gauge(3, 7, 2.5, 10, 1_000, 4, 0.5)]
        self.metrics = Metrics(lambda: self.failures, lambda: self.ready, lambda: self.gauges, restarts=2)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"ebbtide_streams_{name}", labels)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def buffer() -> Buffer:
    """Partition 3 of `events`, from offset 10."""
    made = Buffer()
    made.begin("member", {3: ({"events": 10}, OffsetMetadata())}, {})
    return made


def apply_two(buffer: Buffer) -> None:
    run = Batch(3, 1, [Piece("events", ["a", "b"], [1, 2])], 2)
    buffer.applied(run, [OffsetRange("events", 10, 12)], fired=False, versions={})
    buffer.emit(Output("commands", b"u", b"1", 3))
    buffer.counts[DECIDED, DecisionOutcome.DROP, Reason.CAP] += 2
    buffer.counts[DEAD_LETTERED, "invalid"] += 1


def test_the_documented_metrics_of_streams_are_those_that_exist() -> None:
    text = DOCUMENT.read_text()
    assert reference(DEFINITIONS) in text, f"{DOCUMENT} is stale; its table is:\n{reference(DEFINITIONS)}"


def test_work_counts_when_its_checkpoint_is_committed(watched: Watched, buffer: Buffer) -> None:
    apply_two(buffer)
    transaction = buffer.drain([TableChanges("changelog", 3, [(b"u", b"2")])])
    assert transaction is not None
    watched.metrics.checkpointed(transaction, CommitOutcome.OK, 0.03)
    assert watched.value("records_applied_total", topic="events") == 2
    assert watched.value("records_written_total", topic="commands") == 1
    assert watched.value("records_written_total", topic="changelog") == 1
    assert watched.value("decisions_total", outcome="drop", reason="cap") == 2
    assert watched.value("dead_letters_total", cause="invalid") == 1
    assert watched.value("checkpoint_seconds_count") == 1
    assert watched.value("checkpoint_records_sum") == 2
    apply_three = Batch(3, 2, [Piece("events", ["c"], [3])], 3)
    buffer.applied(apply_three, [OffsetRange("events", 13, 13)], fired=False, versions={})
    later = buffer.drain([])
    assert later is not None
    assert (later.applied, later.counts) == ({TopicPartition("events", 3): 1}, {}), "nothing is counted again"


def test_work_that_is_lost_with_its_partitions_never_counts(watched: Watched, buffer: Buffer) -> None:
    apply_two(buffer)
    buffer.drop()
    buffer.begin("member", {3: ({"events": 10}, OffsetMetadata())}, {})
    assert buffer.counts == {}
    assert buffer.applied_so_far() == {3: (0, OffsetMetadata().clock_ms)}
    watched.metrics.checkpointed(
        Transaction([], [confluent_kafka.TopicPartition("events", 3, 12)], "member", {TopicPartition("events", 3): 2}),
        CommitOutcome.LOST,
        0.1,
    )
    assert watched.value("records_applied_total", topic="events") is None
    assert watched.value("checkpoints_lost_total") == 1


def test_partitions_that_are_fetched_again_are_counted(watched: Watched) -> None:
    assert watched.value("fetch_stalls_total") == 0
    watched.metrics.stalled(TopicPartition("events", 3))
    assert watched.value("fetch_stalls_total") == 1


def test_a_partition_that_another_worker_took_over_has_no_series(watched: Watched) -> None:
    assert watched.value("lag_records", partition="3") == 7
    assert watched.value("users", partition="3") == 10
    watched.gauges = [Gauge(4, None, 0.0, 0, 0, 0, None)]
    assert watched.value("lag_records", partition="3") is None
    assert watched.value("lag_records", partition="4") is None, "an unknown lag has no series"
    assert watched.value("timers", partition="4") == 0


def test_prometheus_can_read_the_page(watched: Watched) -> None:
    watched.failures = 5
    families = {family.name: family for family in text_string_to_metric_families(watched.metrics.page().decode())}
    assert families["ebbtide_streams_checkpoint_failures"].samples[0].value == 5
    assert families["ebbtide_streams_restarts"].samples[0].value == 2
    assert "process_resident_memory_bytes" in families
    assert not [name for name in families if name.endswith("_created")]


def test_lag_counts_records_that_are_not_applied_and_no_control_records() -> None:
    clock: PartitionClock[str] = PartitionClock(3, {"profiles": 0, "events": 0})
    ends = {"profiles": 0, "events": 6}
    assert clock.lag(ends, applied=0) == 6, "six are on the broker"
    clock.push("events", ["a", "b", "c"], [1, 2, 3], position=3)
    assert clock.lag(ends, applied=0) == 6, "three have arrived"
    question = clock.end_query(10)
    assert question is not None
    clock.receive_ends(question, ends)
    run = clock.take(2)
    assert run is not None
    assert len(run) == 2
    assert clock.lag(ends, applied=0) == 6, "two are being applied"
    assert clock.lag(ends, applied=2) == 4
    clock.push("events", ["d"], [4], position=4)
    clock.push("events", [], [], position=6)  # two control records
    assert clock.lag(ends, applied=2) == 2


class Clock:
    """Says how long ago a checkpoint ended."""

    quiet_s = 0.1

    def __call__(self) -> float:
        return self.quiet_s


def test_a_worker_is_ready_from_its_recovery_to_its_next_rebalance() -> None:
    health = StreamHealth(0, 0, Clock(), "rules")
    seen = [health.state().phase]
    health.assigned([1, 2])
    seen.append(health.state().phase)
    health.waits({"manifest": 4, "control": 0})
    assert health.state().reason == "waits for manifest 4: rules"
    health.recovered([1, 2], 0.5)
    seen.append(health.state().phase)
    assert (health.state().reason, health.held_partitions()) == (None, (1, 2))
    health.dropped()
    seen.append(health.state().phase)
    health.stops()
    health.assigned([1])
    seen.append(health.state().phase)
    assert seen == [Phase.STARTING, Phase.RECOVERING, Phase.READY, Phase.REBALANCING, Phase.STOPPING]


def test_a_worker_whose_partitions_went_or_were_lost_is_not_ready_any_more() -> None:
    runtime = Runtime(RuntimeSettings("test", "0", Connection("127.0.0.1:1"), ("events",), 1))
    health = StreamHealth(0, 0, Clock(), "rules")
    runtime.observe(health)
    health.recovered([1], 0.5)
    runtime.drop()
    assert (health.state().phase, health.held_partitions()) == (Phase.REBALANCING, ())


def test_a_worker_is_unhealthy_once_no_checkpoint_ends_for_longer_than_a_broker_may_be_away() -> None:
    clock = Clock()
    health = StreamHealth(0, 0, clock, "rules")
    clock.quiet_s = 60.0
    assert health.why_unhealthy() is None
    clock.quiet_s = STUCK_S + 1
    assert health.why_unhealthy() == "no checkpoint has ended for 121 s"
