"""The end of a delivery process: at a signal, at a defect, and while a part of it hangs."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import (
    PROGRAM,
    SOURCE,
    Harbour,
    a_command,
    harbour,
    have_topics,
    parsed,
    wait_until,
)
from drivers.warm_interpreter import WarmProgram

from schemas.commands import SendCommand
from schemas.topics import COMMANDS
from schemas.vocabulary import LedgerState

pytestmark = pytest.mark.servers

BOUND_S = 10.0
LATEST_S = 2.0
"""A process gets the signal at most this long after its start, or after its first work."""


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    yield from harbour(servers.kafka, database_url, tmp_path)


def publish(delivery: Harbour, template: str, users: list[str], count: int) -> list[SendCommand]:
    commands = [a_command(users[number % len(users)], template) for number in range(count)]
    for command in commands:
        delivery.publish_soon(COMMANDS.name, command.user_id, command)
    delivery.flush()
    return commands


def start(delivery: Harbour, lines: str = "") -> None:
    """Starts a process that runs these lines first."""
    delivery.start_process(WarmProgram("senders.app", f"{lines}\n{SOURCE}"))


def log(delivery: Harbour) -> str:
    file = delivery.directory / "senders.log"
    return file.read_text(errors="replace") if file.exists() else ""


@pytest.mark.parametrize("moments", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_sigterm_at_any_moment_under_load_ends_the_process_in_time_and_loses_nothing(
    delivery: Harbour, moments: int, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """Each process gets the signal at a random moment from its start on. While Python still imports the program, the
    signal itself ends it; from the program's first line on it ends with status 0."""
    chance = random.Random(seed)
    template, users = delivery.publish_template(), [delivery.publish_user() for _ in range(20)]
    commands: list[SendCommand] = []
    took, statuses = [], Counter[int]()
    for moment in range(moments):
        commands += publish(delivery, template, users, 10)
        before = len(log(delivery))
        delivery.start_process(PROGRAM)
        if moment % 3:  # the start takes long: of three moments two are while it works
            wait_until(lambda since=before: "senders_started" in log(delivery)[since:], "it works")
        time.sleep(chance.uniform(0, LATEST_S))  # the moment is what is tested
        began = time.monotonic()
        status = delivery.end_process(signal.SIGTERM)
        took.append(time.monotonic() - began)
        statuses[status] += 1
        output = log(delivery)[before:]
        reached = 0 if output else -signal.SIGTERM
        assert status in (0, reached), f"moment {moment}: {status}\n{output[-3000:]}"
        assert took[-1] < BOUND_S, f"moment {moment}: {took[-1]:.1f} s\n{output[-3000:]}"
    before = len(log(delivery))
    start(delivery)
    wait_until(lambda: "senders_started" in log(delivery)[before:], "the last process works")
    ids = [command.id for command in commands]
    done = "SELECT count(*) FROM ledger WHERE state IN ('accepted', 'in_doubt') AND command_id = ANY(%s)"
    wait_until(lambda: delivery.rows(done, ids)[0][0] == len(ids), "all mails")
    assert delivery.end_process(signal.SIGTERM) == 0
    record_property("statuses", dict(statuses))
    record_property("longest_s", round(max(took), 2))
    mails = Counter(str(parsed(mail.raw)["X-Ebbtide-Command"]) for mail in delivery.sink.messages())
    assert max(mails.values()) == 1
    accepted = "SELECT command_id FROM ledger WHERE state = 'accepted' AND command_id = ANY(%s)"
    assert {id_ for (id_,) in delivery.rows(accepted, ids)} <= set(mails)


def ended(delivery: Harbour) -> int:
    """The exit status of a process that ends by itself."""
    wait_until(lambda: not delivery.process_runs, "the process has ended", 20)
    return delivery.end_process(signal.SIGTERM)


@pytest.mark.parametrize(
    "place",
    [
        "senders.delivery.scheduler.Scheduler._claim",
        "senders.delivery.scheduler.Scheduler._take",
        "senders.queue.writer.LedgerWriter.write_once",
        "senders.queue.outbox_relay.OutboxRelay.publish_batch",
        "infra.kafka.batch_reader.BatchReader._one_batch",
        "senders.template_reader.TemplateReader._take",
    ],
)
def test_a_defect_in_any_loop_ends_the_process_in_time_with_its_error(delivery: Harbour, place: str) -> None:
    module, owner, method = place.rsplit(".", 2)
    template, users = delivery.publish_template(), [delivery.publish_user()]
    commands = publish(delivery, template, users, 5)
    defect = f"import {module} as m\ndef defect(*_): raise KeyError('a defect')\nm.{owner}.{method} = defect"
    start(delivery, defect)
    assert ended(delivery) == 1
    assert "KeyError: 'a defect'" in log(delivery)
    assert log(delivery).count('"crashed"') == 1
    start(delivery)
    for command in commands:
        delivery.wait_for(command, LedgerState.ACCEPTED)


@pytest.mark.parametrize(
    ("place", "named", "status"),
    [
        ("senders.template_reader.TemplateReader._take", "template-reader", 70),
        ("senders.delivery.scheduler.Scheduler._take", "MainThread", 70),
    ],
)
def test_a_part_that_does_not_end_at_sigterm_is_named_and_the_process_ends_anyway(
    delivery: Harbour, place: str, named: str, status: int
) -> None:
    module, owner, method = place.rsplit(".", 2)
    stuck = "def stuck(*_):\n    sys.stderr.write('stuck\\n')\n    time.sleep(600)"
    publish(delivery, delivery.publish_template(), [delivery.publish_user()], 1)
    start(delivery, f"import {module} as m, sys, time\n{stuck}\nm.{owner}.{method} = stuck")
    wait_until(lambda: "stuck" in log(delivery), "it is stalled")
    began = time.monotonic()
    assert delivery.end_process(signal.SIGTERM) == status
    assert time.monotonic() - began < BOUND_S + 2
    overdue = [line for line in log(delivery).splitlines() if "stop_overdue" in line and named in line]
    assert overdue, log(delivery)[-3000:]
    assert "(stuck)" in overdue[0], "it says where"
