"""The benchmark itself, small: it runs, checks what was written, appends a record, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.holders import answers
from perf.broker import Broker
from perf.placing import Placing
from perf.results import Run

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

PORTS_ABOVE = 40
"""Its broker's ports, away from those of a benchmark that runs beside the tests."""


def test_a_small_run_is_recorded_and_stops_its_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = str(int(os.environ.get("EBBTIDE_PORT_BASE", "21000")) + PORTS_ABOVE)
    monkeypatch.setenv("EBBTIDE_PORT_BASE", base)
    record = tmp_path / "streams.jsonl"
    parts = [f"--only={name}" for name in ("bare-rule", "runtime", "one-rule")]
    command = [sys.executable, "-m", "perf.bench_streams", "--quick", "--events=4000", "--users=400", *parts, "--json"]
    done = subprocess.run([*command, f"--record={record}"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    run = Run.model_validate_json(record.read_text())
    assert run == Run.model_validate_json(done.stdout)
    assert [each.name for each in run.throughput] == ["bare loop, rule job", "runtime, spike job", "one rule"]
    by_hand, ours = run.throughput[0], run.throughput[2]
    assert by_hand.commands == ours.commands == ours.commands_expected
    assert not run.problems
    assert not answers(Broker(Placing(), print).port)
