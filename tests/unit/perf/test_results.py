"""The record of the measurements: what is appended can be read, and goals are judged by the worse figure."""

from pathlib import Path

import pytest

from perf import results
from perf.goals import goals
from perf.programs import BARE_RULE, BARE_SPIKE, FLINK, KAFKA_STREAMS
from perf.results import Latency, PerformanceGoal, Run, Throughput
from perf.rulesets import EVERY_EVENT, ONE
from perf.throughput import FAUST


def measured(name: str, per_s: float, distribution: str = "uniform", **others: object) -> Throughput:
    return Throughput.model_validate(
        {
            "name": name,
            "measured": "outside",
            "distribution": distribution,
            "events": 1_000_000,
            "users": 100_000,
            "partitions": 16,
            "seconds": 1_000_000 / per_s,
            "events_per_s": per_s,
            "cpu_us_per_event": 1e6 / per_s,
            "peak_mib": 300.0,
            **others,
        }
    )


@pytest.fixture
def run() -> Run:
    found = results.new_run({"events": 1_000_000})
    found.throughput = [
        measured(BARE_SPIKE, 140_000),
        measured(BARE_RULE, 200_000),
        measured(ONE.name, 130_000),
        measured(FAUST.name, 4_000),
        measured(ONE.name, 95_000, "zipf"),
    ]
    latency = {"events_per_s": 65_000, "seconds": 30, "commands": 9, "behind": 3}
    found.latency = [Latency(**latency, p50_ms=100, p95_ms=200, p99_ms=390.5, max_ms=500)]
    return found


def by_name(found: list[PerformanceGoal]) -> dict[str, PerformanceGoal]:
    return {goal.what: goal for goal in found}


def test_a_run_that_was_appended_can_be_read_again(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "results" / "streams.jsonl"
    run.goals = goals(run)
    results.append(run, file)
    results.append(run, file)
    assert [Run.model_validate_json(line) for line in file.read_text().splitlines()] == [run, run]


def test_a_run_says_on_what_it_was_measured(run: Run) -> None:
    assert run.machine["cores"]
    assert {"python", "kafka", "confluent-kafka", "faust-streaming"} <= run.versions.keys()


def test_every_run_on_record_can_be_read() -> None:
    runs = [Run.model_validate_json(line) for line in results.FILE.read_text().splitlines()]
    assert len(runs) >= 5  # the record is appended to, never cut
    assert all(run.goals for run in runs)


def test_a_goal_is_judged_by_the_worse_of_two_distributions(run: Run) -> None:
    goal = by_name(goals(run))["one rule"]
    assert (goal.measured, goal.met) == (95_000, False)


def dense(name: str, per_s: float, cpu_us: float, distribution: str = "uniform") -> Throughput:
    """A result where every event counts. Its figures over the whole are half as good as its warm ones."""
    warm = {"warm_events_per_s": per_s, "warm_cpu_us_per_event": cpu_us}
    return measured(name, per_s / 2, distribution, workload="every event", cpu_us_per_event=2 * cpu_us, **warm)


def test_where_every_event_counts_the_warm_part_is_judged_and_by_the_worse_distribution(run: Run) -> None:
    run.throughput += [
        dense(KAFKA_STREAMS, 92_000, 10.5),
        dense(EVERY_EVENT.name, 100_000, 9.0),
        dense(FLINK, 116_000, 8.6),
        dense(EVERY_EVENT.name, 91_000, 9.9, "zipf"),
    ]
    found = by_name(goals(run))
    assert (found["every event"].measured, found["every event"].met) == (91_000, True)
    assert (found["every event, CPU"].measured, found["every event, CPU"].met) == (9.9, True)
    assert found["every event, CPU, the next goal"].met is False
    assert found["every event, of Kafka Streams"].measured == pytest.approx(100 / 92)
    assert found["every event, of Flink"].met is False


def test_a_bare_loop_over_other_events_is_not_compared(run: Run) -> None:
    before = by_name(goals(run))["one rule, of bare loop, spike job"].measured
    run.throughput.append(dense(BARE_SPIKE, 400_000, 5.0))
    assert by_name(goals(run))["one rule, of bare loop, spike job"].measured == before


def test_ratios_are_taken_over_the_same_events(run: Run) -> None:
    found = by_name(goals(run))
    assert found["one rule, of bare loop, spike job"].met
    assert not found["one rule, of bare loop, rule job"].met
    assert found["one rule, of Faust as shipped"].measured == pytest.approx(32.5)


def test_what_was_not_measured_is_neither_met_nor_missed(run: Run) -> None:
    found = by_name(goals(run))
    assert (found["twenty rules"].measured, found["twenty rules"].met) == (None, None)
    assert (found["every event"].measured, found["every event"].met) == (None, None)
    assert found["latency p99 at 50,000 events/s"].met is False


@pytest.mark.parametrize(("users", "met"), [(1_000_000, True), (50_000, None)])
def test_recovery_counts_for_a_million_users_only(run: Run, users: int, met: bool | None) -> None:
    run.recovery = {"settings": {"users": users}, "from_changelog": {"recovery_s": 12.0, "rss_mb": 600}}
    found = by_name(goals(run))
    assert found["a million users from the changelog"].met is met
    assert found["a million users from the snapshot"].met is None


def test_what_was_written_wrong_is_told_with_its_contender(run: Run) -> None:
    run.throughput[2].problems.append("3 commands instead of 4")
    assert run.problems == ["one rule, uniform: 3 commands instead of 4"]
