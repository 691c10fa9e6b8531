"""`ebbtide run senders --workers N`: started again, restarted in turn, stopped, killed, and seen from outside."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.free_ports import free_port
from drivers.pages import samples
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, parsed, wait_until
from drivers.supervised_workers import SupervisedWorkers, is_gone
from drivers.whole_pipeline import new_topics

from schemas.commands import SendCommand
from schemas.topics import COMMANDS

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def delivery(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    new_topics(servers.kafka)  # without commands of other tests, which would count too
    database_url = servers.create_database()
    # A worker keeps its partitions if it is back within the session time-out, however busy the machine is.
    ports = {"senders_web_port": servers.ports.senders_web, "session_timeout_ms": 20_000}
    yield from harbour(servers.kafka, database_url, tmp_path_factory.mktemp("senders"), **ports)
    servers.drop_database(database_url)


@pytest.fixture(scope="module")
def senders(delivery: Harbour) -> Iterator[SupervisedWorkers]:
    port, log = delivery.settings["senders_web_port"], delivery.directory / "supervised.log"
    with SupervisedWorkers("senders", port, log, delivery.variables) as made:
        yield made


@pytest.fixture
def two_workers(senders: SupervisedWorkers) -> dict[int, int]:
    return senders.two_ready()


class Commands:
    """Commands that a thread publishes at a pace until `finish`."""

    def __init__(self, delivery: Harbour) -> None:
        self.ids: list[str] = []
        self._delivery = delivery
        self._users = [delivery.publish_user() for _ in range(20)]
        self._template = delivery.publish_template()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def _publish(self) -> None:
        while not self._over.wait(0.02):
            command: SendCommand = a_command(self._users[len(self.ids) % 20], self._template)
            self._delivery.publish(COMMANDS.name, command.user_id, command)
            self.ids.append(command.id)

    def finish(self) -> dict[str, int]:
        """Stops, waits until no command is left, and returns how many are in each state."""
        self._over.set()
        self._thread.join()
        done = "SELECT count(*) FROM ledger WHERE state IN ('accepted', 'in_doubt') AND command_id = ANY(%s)"
        wait_until(lambda: self._delivery.rows(done, self.ids)[0][0] == len(self.ids), "all commands end")
        states = "SELECT state, count(*) FROM ledger WHERE command_id = ANY(%s) GROUP BY state"
        return dict(self._delivery.rows(states, self.ids))

    def mails(self) -> Counter[str]:
        """How many mails the sink took of each command."""
        mails = (str(parsed(mail.raw)["X-Ebbtide-Command"]) for mail in self._delivery.sink.messages())
        return Counter(command for command in mails if command in set(self.ids))


@pytest.fixture
def commands(delivery: Harbour) -> Iterator[Commands]:
    made = Commands(delivery)
    yield made
    made._over.set()
    made._thread.join()


def total(senders: SupervisedWorkers, name: str) -> float:
    """Over both workers and all labels."""
    found = (sample for slot in (0, 1) for sample in samples(senders.port + slot))
    return sum(sample.value for sample in found if sample.name == f"ebbtide_senders_{name}")


@pytest.mark.usefixtures("two_workers")
def test_two_workers_share_the_partitions_and_their_pages_add_up_to_the_ledger(
    senders: SupervisedWorkers, delivery: Harbour, commands: Commands
) -> None:
    partitions = have_topics(delivery.kafka)

    def shared() -> bool:
        held = [(senders.ready(slot) or {"partitions": []})["partitions"] for slot in (0, 1)]
        return sorted(held[0] + held[1]) == list(range(partitions)) and all(held)

    wait_until(shared, "both hold partitions")
    wait_until(lambda: len(commands.ids) > 50, "commands flow")
    assert commands.finish() == {"accepted": len(commands.ids)}
    assert set(commands.mails().values()) == {1}
    for each in ("commands_settled_total", "commands_admitted_total"):  # counted once the ledger has it
        wait_until(lambda name=each: total(senders, name) >= len(commands.ids), f"{each} tells of all")
        assert total(senders, each) == len(commands.ids)
    assert total(senders, "ready") == 2

    wait_until(lambda: total(senders, "commands_due") == 0, "the backlog is measured")
    done = senders.cli("senders", "status", "--json")
    status = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [(w["slot"], w["state"], w["restarts"]) for w in status["workers"]] == [(0, "ready", 0), (1, "ready", 0)]
    assert {p["partition"] for p in status["partitions"]} == set(range(partitions))
    assert {p["worker"] for p in status["partitions"]} == {0, 1}
    shown = senders.cli("senders", "status").stdout
    assert "partition  worker  lag  due  oldest due  waiting  outbox  in doubt  view behind" in shown


def test_a_killed_delivery_worker_is_restarted_in_its_place(
    senders: SupervisedWorkers, two_workers: dict[int, int], commands: Commands
) -> None:
    held = {slot: (senders.ready(slot) or {})["partitions"] for slot in (0, 1)}
    wait_until(lambda: len(commands.ids) > 50, "commands flow")
    os.kill(two_workers[1], signal.SIGKILL)
    wait_until(lambda: senders.wait_ready(1)[1] != two_workers[1], "worker 1 is ready again")
    states = commands.finish()
    assert set(states) <= {"accepted", "in_doubt"}
    assert states.get("in_doubt", 0) <= 8, "at most the mails in flight"
    mails = commands.mails()
    assert max(mails.values()) == 1
    assert len(mails) >= states["accepted"]
    assert senders.wait_ready(0)[0] == two_workers[0], "the other worker goes on"
    assert {slot: (senders.ready(slot) or {})["partitions"] for slot in (0, 1)} == held
    ended = [line for line in senders.lines() if line["event"] == "worker_ended"][-1]
    assert (ended["slot"], ended["why"]) == (1, "it was killed by SIGKILL")


def test_a_rolling_restart_of_delivery_takes_the_workers_in_turn_and_moves_no_partition(
    senders: SupervisedWorkers, two_workers: dict[int, int], commands: Commands
) -> None:
    held = {slot: (senders.ready(slot) or {})["partitions"] for slot in (0, 1)}
    done = senders.cli("senders", "restart")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == ["worker 0 restarts", "worker 1 restarts", "all are ready again"]
    after = senders.wait_ready(0, 1)
    assert not set(two_workers.values()) & set(after.values())
    assert {slot: (senders.ready(slot) or {})["partitions"] for slot in (0, 1)} == held
    assert commands.finish() == {"accepted": len(commands.ids)}
    assert set(commands.mails().values()) == {1}


def test_sigterm_ends_all_delivery_workers_in_time(
    senders: SupervisedWorkers, two_workers: dict[int, int], commands: Commands
) -> None:
    wait_until(lambda: len(commands.ids) > 50, "commands flow")
    status, took_s = senders.stop()
    assert status == 0, senders.tail()
    assert took_s < 12
    assert all(map(is_gone, two_workers.values()))
    shown = senders.cli("senders", "status")
    assert shown.returncode == 1
    assert "no delivery worker runs: `ebbtide run senders` starts one" in shown.stdout
    senders.start("--workers", "2")
    assert commands.finish() == {"accepted": len(commands.ids)}


@pytest.mark.usefixtures("two_workers")
def test_a_second_supervisor_of_delivery_is_refused_in_one_line(senders: SupervisedWorkers) -> None:
    done = senders.program("run", "senders")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "the delivery workers of instance main already have a supervisor (pid " in done.stderr


def test_a_supervisor_of_delivery_that_is_killed_leaves_no_worker(
    senders: SupervisedWorkers, two_workers: dict[int, int]
) -> None:
    senders.stop(signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, two_workers.values())), "both workers are gone")
    assert json.loads(senders.cli("senders", "status", "--json").stdout)["supervisor"] is None
    done = senders.cli("senders", "restart")
    assert done.returncode == 2
    assert "no supervisor of delivery workers runs for instance main" in done.stderr


def test_a_worker_that_finds_no_kafka_is_started_again_until_it_answers(
    senders: SupervisedWorkers, tmp_path: Path
) -> None:
    done = senders.program(
        "run",
        "senders",
        "--slot",
        "0",
        EBBTIDE_KAFKA=f"127.0.0.1:{free_port()}",
        EBBTIDE_SUPERVISOR=str(os.getpid()),
        EBBTIDE_SENDERS_DIR=str(tmp_path),
    )
    assert done.returncode == 75
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["slot"]) == ("kafka_away", 0)
