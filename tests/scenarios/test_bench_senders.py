"""The benchmark of delivery itself, small: it runs, loses no mail, appends a record, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.layout import PROJECT_ROOT
from perf.bench_senders import OLD, SendersRun

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

PORTS_ABOVE = 40
"""Its servers' ports, away from those of a benchmark that runs beside the tests."""


def test_a_small_run_measures_every_part_and_leaves_nothing_behind(tmp_path: Path) -> None:
    base = int(os.environ.get("EBBTIDE_PORT_BASE", "21000")) + PORTS_ABOVE
    record = tmp_path / "senders.jsonl"
    command = [sys.executable, "-m", "perf.bench_senders", "--quick", f"--record={record}"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=os.environ | {"EBBTIDE_PORT_BASE": str(base)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = SendersRun.model_validate_json(record.read_text())
    assert not run.problems
    assert {each.contender for each in run.paths} == {"ebbtide", f"ebbtide {OLD}"}
    assert {each.processes for each in run.paths} == {1, 2}
    assert all(each.per_cpu_s > 0 and each.ledger_wal_bytes > 0 for each in run.paths)
    assert len(run.latency) == 1
    assert len(run.signing) == 2
    assert {each.name.partition(":")[0] for each in run.peers} == {"naive", "smtp-source"}
    assert not list((PROJECT_ROOT / ".local" / "perf").glob("revision-*"))
