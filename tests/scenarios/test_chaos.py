"""The real application under random trouble, against the slow model; and mistakes that must be reported.

A new seed each time, which the report names: `make chaos ARGS="--seed N …"` runs it again.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.usefixtures("servers")]

ROOT = Path(__file__).resolve().parents[2]


def chaos(results: Path, *arguments: str) -> tuple[int, str]:
    """The exit status and the whole output. It has its own broker; `servers` only installs it."""
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "--results", str(results), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_half_a_minute_of_faults_gives_exactly_the_results_of_the_slow_model(tmp_path: Path) -> None:
    status, output = chaos(
        tmp_path / "chaos.jsonl", "--events", "6000", "--minutes", "0.6", "--workers", "2", "--drain", "5"
    )
    assert status == 0, output


@pytest.mark.slow
def test_many_events_and_all_faults_give_exactly_the_results_of_the_slow_model(tmp_path: Path) -> None:
    status, output = chaos(tmp_path / "chaos.jsonl", "--events", "200000", "--minutes", "5")
    assert status == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("control", ["split", "awaiting"])
def test_violations_of_exactly_once_are_reported(tmp_path: Path, control: str) -> None:
    status, output = chaos(tmp_path / "chaos.jsonl", "--control", control, "--events", "30000", "--drain", "1")
    assert status == 1, output
