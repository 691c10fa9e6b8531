"""The benchmark itself, small: it runs, checks what was written, appends a record, and leaves nothing behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.holders import answers
from perf.broker import Broker
from perf.cpu_placement import CpuPlacement
from perf.results import Run

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

PORTS_ABOVE = 40
"""Its broker's ports, away from those of a benchmark that runs beside the tests."""


@pytest.fixture(autouse=True)
def own_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    base = str(int(os.environ.get("EBBTIDE_PORT_BASE", "21000")) + PORTS_ABOVE)
    monkeypatch.setenv("EBBTIDE_PORT_BASE", base)


def small_run(record: Path, *options: str) -> Run:
    """A run over 4,000 events, which must find nothing wrong."""
    command = [sys.executable, "-m", "perf.bench_streams", "--quick", "--events=4000", "--users=400", "--json"]
    done = subprocess.run(
        [*command, *options, f"--record={record}"], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    run = Run.model_validate_json(record.read_text())
    assert run == Run.model_validate_json(done.stdout)
    assert not run.problems
    return run


def test_a_small_run_is_recorded_and_stops_its_broker(tmp_path: Path) -> None:
    parts = [f"--only={name}" for name in ("bare-rule", "runtime", "one-rule")]
    run = small_run(tmp_path / "streams.jsonl", *parts)
    assert [each.name for each in run.throughput] == ["bare loop, rule job", "runtime, spike job", "one rule"]
    by_hand, ours = run.throughput[0], run.throughput[2]
    assert by_hand.commands == ours.commands == ours.commands_expected
    assert not answers(Broker(CpuPlacement(), print).port)


@pytest.mark.skipif(
    not all(map(shutil.which, ("mvn", "javac"))), reason="Kafka Streams and Flink need Maven and a JDK 17 to be built"
)
def test_all_programs_write_the_same_number_of_commands_for_the_rule_of_every_event(tmp_path: Path) -> None:
    run = small_run(tmp_path / "streams.jsonl", "--only=every-event", "--peers")
    names = ["bare loop, spike job", "bare loop, rule job", "every event", "Kafka Streams", "Flink"]
    assert [each.name for each in run.throughput] == names
    expected = run.throughput[1].commands_expected
    assert [each.commands for each in run.throughput[1:]] == [expected] * 4
    assert expected is not None
    assert expected > 200
    assert {"kafka-streams", "flink-streaming-java"} <= run.versions.keys()


def test_twenty_rules_that_all_count_are_measured_for_new_users_and_for_grown_ones(tmp_path: Path) -> None:
    run = small_run(tmp_path / "streams.jsonl", "--only=twenty-all-count", "--only=grown-state")
    new, grown = run.throughput
    assert (new.name, new.users, new.match_share) == ("twenty, all count", 400, 1.0)
    assert (grown.name, grown.users, grown.events) == ("grown state", 80, 4_000)
    assert 0 < (new.commands or 0) <= (new.decisions or 0)
