"""Delivery under random trouble, and a fault that must be reported: `make chaos-senders`, as small as it gets.

Chosen by the seed of the run, which the report names: `make chaos-senders ARGS="--seed N …"` runs it again.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.chaos_command import chaos
from drivers.real_servers import RealServers

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

SMALL = ("--minutes", "0.1", "--workers", "2", "--session", "2", "--lease", "2")


@pytest.fixture
def another_database_url(servers: RealServers) -> Iterator[str]:
    """For a second run, whose books are its own."""
    url = servers.create_database()
    yield url
    servers.drop_database(url)


def test_trouble_loses_and_doubles_nothing_and_mails_that_were_never_sent_are_reported(
    servers: RealServers, database_url: str, another_database_url: str, tmp_path: Path, seed: int
) -> None:
    results, small = tmp_path / "chaos.jsonl", (*SMALL, "--seed", str(seed), "--servers", servers.kafka)
    status, output = chaos("chaos_senders", results, *small, database_url, "--commands", "400", "--troubles", "5")
    assert status == 0, output

    alone = ("--commands", "600", "--control", "unsent")
    status, output = chaos("chaos_senders", results, *small, another_database_url, *alone)
    assert status == 1, output
    assert "wrong: mails lost" in output


@pytest.mark.slow
@pytest.mark.usefixtures("servers")
def test_much_trouble_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    much = ("--seed", str(seed), "--commands", "20000", "--minutes", "2")
    status, output = chaos("chaos_senders", tmp_path / "chaos.jsonl", *much)
    assert status == 0, output


CONTROL = ("--commands", "6000", "--minutes", "0.5", "--troubles", "4", "--session", "2", "--lease", "2")


@pytest.mark.slow
@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("control", "reported"),
    [
        ("untold", "webhooks that no outcome tells of"),
        ("unfenced", "mails doubled"),
        ("stuck", "commands stuck in started"),
        ("unpublished", "outcomes lost"),
    ],
)
def test_faults_of_delivery_are_reported(tmp_path: Path, control: str, reported: str) -> None:
    status, output = chaos("chaos_senders", tmp_path / "chaos.jsonl", "--control", control, *CONTROL)
    assert status == 1, output
    assert f"wrong: {reported}" in output
