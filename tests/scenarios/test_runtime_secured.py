"""The stream worker and the command line work with a broker that requires TLS and a password."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.secured_broker import PASSWORD, authority, secured_broker
from drivers.whole_pipeline import TEMPLATE, THANKS

from infra.kafka.topic_reader import read_all
from schemas.topics import COMMANDS

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]


@dataclass
class Secured:
    """The command line against the secured listener; and the same broker's open one, for the test to look."""

    open: str
    variables: dict[str, str]
    folder: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        command = [sys.executable, "-m", "cli.main", *arguments]
        env = os.environ | self.variables | variables
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    def work(self, until_commands: int) -> None:
        """A worker from its start until so many commands are committed, then to its end in good order."""
        with (self.folder / "streams.log").open("ab") as log:
            command = [sys.executable, "-m", "cli.main", "run", "streams"]
            worker = subprocess.Popen(command, env=os.environ | self.variables, stdout=log, stderr=log)
        try:
            wait_until(lambda: len(list(read_all(self.open, COMMANDS.name))) == until_commands, "it is decided")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(60) == 0
        finally:
            worker.kill()
            worker.wait()


@pytest.fixture
def secured(servers: RealServers, tmp_path: Path) -> Iterator[Secured]:
    with secured_broker(servers, tmp_path) as broker:
        variables = broker.variables | {
            "EBBTIDE_WEB_PORT": str(free_port()),
            "EBBTIDE_DATA_DIR": str(tmp_path / "faust"),
            "EBBTIDE_SNAPSHOT_INTERVAL_S": "0",  # what is recovered has to come from the broker
        }
        yield Secured(broker.open, variables, tmp_path)


def test_a_worker_recovers_decides_and_commits_over_tls_and_sasl(secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "rules" / "templates").mkdir(parents=True)
    for file in (THANKS, TEMPLATE):
        (tmp_path / "rules" / file.path).write_text(file.text)
    commands = [
        secured.run("topics", "--partitions", "2"),
        secured.run("apply", str(tmp_path / "rules")),
        secured.run("publish", "profile", '{"user_id": "u1", "address": "u1@mail.example"}'),
    ]
    for number in (1, 2):  # the second worker recovers what the first has left
        order = f'{{"type": "order_completed", "user_id": "u1", "properties": {{"order_id": "o{number}"}}}}'
        commands.append(secured.run("publish", "event", order))
        secured.work(until_commands=number)
    assert [done.returncode for done in commands] == [0] * 5, commands
    everything = (tmp_path / "streams.log").read_text() + "".join(done.stdout + done.stderr for done in commands)
    assert '"records": 1' in everything, "the second worker found no state to recover"
    assert PASSWORD not in everything
    what_is_wrong_is_said_in_one_line(secured, tmp_path)


def what_is_wrong_is_said_in_one_line(secured: Secured, tmp_path: Path) -> None:
    """Of the same test: a broker costs seconds."""
    for wrong, named in (
        ({"EBBTIDE_KAFKA_SASL_PASSWORD": "wrong-4711"}, "_SASL_PASSWORD"),
        ({"EBBTIDE_KAFKA_SSL_CA_LOCATION": str(stranger(tmp_path))}, "EBBTIDE_KAFKA_SSL_CA_LOCATION"),
    ):
        for command in (["run", "streams"], ["topics"]):
            refused = secured.run(*command, **wrong)
            assert refused.returncode == 2, refused
            assert refused.stderr.count("\n") == 1, refused.stderr
            assert named in refused.stderr
            assert "4711" not in refused.stderr + refused.stdout


def stranger(folder: Path) -> Path:
    """A certificate that the broker does not have."""
    (folder / "stranger").mkdir(exist_ok=True)
    return authority(folder / "stranger")[0]
