"""The record of the measurements: what is appended can be read, and goals are judged by the worse figure."""

from pathlib import Path

import pytest

from perf import results, throughput
from perf.goals import goals
from perf.results import Latency, PerformanceGoal, Run, Throughput


def measured(name: str, per_s: float, distribution: str = "uniform") -> Throughput:
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
        }
    )


@pytest.fixture
def run() -> Run:
    found = results.new_run({"events": 1_000_000})
    found.throughput = [
        measured(throughput.BARE_SPIKE, 140_000),
        measured(throughput.BARE_RULE, 200_000),
        measured(throughput.ONE, 130_000),
        measured(throughput.FAUST, 4_000),
        measured(throughput.ONE, 95_000, "zipf"),
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


def test_ratios_are_taken_over_the_same_events(run: Run) -> None:
    found = by_name(goals(run))
    assert found["one rule, of bare loop, spike job"].met
    assert not found["one rule, of bare loop, rule job"].met
    assert found["one rule, of Faust as shipped"].measured == pytest.approx(32.5)


def test_what_was_not_measured_is_neither_met_nor_missed(run: Run) -> None:
    found = by_name(goals(run))
    assert (found["twenty rules"].measured, found["twenty rules"].met) == (None, None)
    assert found["latency p99 at half of the goal"].met


@pytest.mark.parametrize(("users", "met"), [(1_000_000, True), (50_000, None)])
def test_recovery_counts_for_a_million_users_only(run: Run, users: int, met: bool | None) -> None:
    run.recovery = {"settings": {"users": users}, "from_changelog": {"recovery_s": 12.0, "rss_mb": 600}}
    found = by_name(goals(run))
    assert found["a million users from the changelog"].met is met
    assert found["a million users from the snapshot"].met is None


def test_what_was_written_wrong_is_told_with_its_contender(run: Run) -> None:
    run.throughput[2].problems.append("3 commands instead of 4")
    assert run.problems == ["one rule, uniform: 3 commands instead of 4"]
