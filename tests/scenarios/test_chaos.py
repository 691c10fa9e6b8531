"""The real application under random trouble, against the slow model; and mistakes that must be reported.

Chosen by the seed of the run, which the report names: `make chaos ARGS="--seed N …"` runs it again.
"""

from pathlib import Path

import pytest
from drivers.chaos_command import chaos

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.usefixtures("servers")]
"""Chaos has its own broker; `servers` only installs it."""


def test_half_a_minute_of_faults_gives_exactly_the_results_of_the_slow_model(tmp_path: Path, seed: int) -> None:
    small = ("--events", "6000", "--minutes", "0.6", "--workers", "2", "--drain", "5")
    status, output = chaos("chaos", tmp_path / "chaos.jsonl", "--seed", str(seed), *small)
    assert status == 0, output


@pytest.mark.slow
def test_many_events_and_all_faults_give_exactly_the_results_of_the_slow_model(tmp_path: Path, seed: int) -> None:
    many = ("--events", "200000", "--minutes", "5")
    status, output = chaos("chaos", tmp_path / "chaos.jsonl", "--seed", str(seed), *many)
    assert status == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("control", ["split", "awaiting"])
def test_violations_of_exactly_once_are_reported(tmp_path: Path, control: str) -> None:
    status, output = chaos("chaos", tmp_path / "chaos.jsonl", "--control", control, "--events", "30000", "--drain", "1")
    assert status == 1, output
