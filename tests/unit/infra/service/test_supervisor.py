"""The supervisor with small programs for workers: what it does when one ends, refuses, or does not listen."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers.free_ports import free_port
from drivers.running_senders import wait_until
from drivers.supervised_workers import is_gone

from infra.service.worker_slot import LONGEST_PAUSE_S, REFUSED, STEADY_S, Slot

PROGRAM = """
import asyncio, os, sys
from infra.service.liveness import LivenessProbe
from infra.service.supervisor import Supervisor
from infra.service.worker_slot import Slot
from infra.service.logs import configure_logging

async def main():
    command = [sys.executable, "-c", sys.argv[1]]
    port = int(os.environ.get("PORT", 1))
    slots = [Slot(number, port + number, command, os.environ) for number in range(2)]
    probe = LivenessProbe(period_s=0.05, failures=3, start_s=float(os.environ.get("START_S", 300)))
    return await Supervisor(slots, lambda restart: None, probe).run()

configure_logging()
sys.exit(asyncio.run(main()))
"""
SLEEPS = "import time; time.sleep(60)\n"
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('{"event": "deaf"}', flush=True)
time.sleep(60)
"""
ANSWERS = """
import http.server, json, os, sys, time
if sys.argv[1] == "1":
    time.sleep(60)  # it never answers
first, asked = os.environ["EBBTIDE_RESTARTS"] == "0", 0

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += 1
        self.send_response(status())
        self.end_headers()
        self.wfile.write(b'{"reason": "a task is stalled"}')
        print(json.dumps({"event": "answered", "count": asked, "pid": os.getpid()}), flush=True)

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page)
"""
SERVES = "while True: server.handle_request(), after()\n"


class Supervised:
    """A supervisor of two workers that run `worker`."""

    def __init__(self, worker: str, log: Path, **others: str) -> None:
        self._log = log
        variables = os.environ | {"PORT": str(free_port(2))} | others
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, worker], stdout=out, stderr=out, env=variables
            )

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it logged of one event."""
        whole = [line for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in map(json.loads, whole) if line["event"] == event]

    def wait(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Waits until it has logged the event so often."""
        return wait_until(lambda: len(found := self.lines(event)) >= count and found, f"{count} {event}") or []


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Any]:
    started: list[Supervised] = []

    def start(worker: str, **others: str) -> Supervised:
        started.append(Supervised(worker, tmp_path / "log", **others))
        return started[-1]

    yield start
    for one in started:
        one.process.terminate()  # its workers with it
        one.process.wait(20)


def test_a_worker_that_ends_is_started_again_after_a_pause_that_doubles(supervise: Any) -> None:
    found = supervise("import sys, time; sys.exit(70) if sys.argv[1] == '0' else time.sleep(60)")
    ended = found.wait("worker_ended", 3)
    assert [line["again_in_s"] for line in ended] == [0.5, 1.0, 2.0]
    assert {line["slot"] for line in ended} == {0}
    assert ended[0]["why"].startswith("it ended itself, because going on could lose or double something")
    assert [line["slot"] for line in found.lines("worker_started")].count(1) == 1, "the other one is left alone"
    found.process.send_signal(signal.SIGTERM)
    assert found.process.wait(5) == 0


def test_the_pause_is_bounded_and_short_again_after_a_steady_run() -> None:
    slot = Slot(0, 1, [], {})
    assert [slot.pause_after(1, 0.1) for _ in range(9)][-1] == LONGEST_PAUSE_S
    assert slot.pause_after(1, STEADY_S + 1) == 0.5


def test_a_worker_that_refuses_to_start_three_times_ends_all_and_the_error_says_what_to_do(supervise: Any) -> None:
    found = supervise(f"import sys, time; sys.exit({REFUSED}) if sys.argv[1] == '1' else time.sleep(60)")
    assert found.process.wait(20) == REFUSED
    assert [line["slot"] for line in found.lines("worker_started")].count(1) == 3
    [gave_up] = found.lines("gave_up")
    assert (gave_up["slot"], gave_up["why"]) == (1, "it refused to start 3 times in a row; fix what its log says")
    assert all(is_gone(line["pid"]) for line in found.lines("worker_started"))


def test_an_unhealthy_worker_is_restarted_and_the_others_are_left_alone(supervise: Any) -> None:
    status = "def status(): return 503 if first else 200\ndef after(): pass\n"
    found = supervise(ANSWERS + status + SERVES)
    [unhealthy] = found.wait("worker_unhealthy")
    assert (unhealthy["slot"], unhealthy["why"]) == (0, "a task is stalled")
    [_, _, again] = found.wait("worker_started", 3)
    wait_until(lambda: [a for a in found.lines("answered") if a["pid"] == again["pid"] and a["count"] > 6], "probes")
    assert len(found.lines("worker_unhealthy")) == 1, "the new one is healthy"
    assert [line["count"] for line in found.lines("answered") if line["pid"] == unhealthy["pid"]] == [1, 2, 3]
    [ended] = found.lines("worker_ended")
    assert (ended["slot"], ended["again_in_s"]) == (0, 0.5)
    assert ended["why"] == "the supervisor ended it, because it was unhealthy: a task is stalled"


def test_a_worker_that_is_healthy_again_in_time_is_not_restarted(supervise: Any) -> None:
    status = "def status(): return 200 if asked % 3 == 0 else 503\ndef after(): pass\n"
    found = supervise(ANSWERS + status + SERVES)
    found.wait("answered", 12)
    assert found.lines("worker_unhealthy") == []
    assert len(found.lines("worker_started")) == 2


def test_a_worker_that_no_longer_answers_is_restarted(supervise: Any) -> None:
    once = "def status(): return 200\ndef after(): first and (server.server_close(), time.sleep(60))\n"
    found = supervise(ANSWERS + once + SERVES)
    [unhealthy] = found.wait("worker_unhealthy")
    assert (unhealthy["slot"], unhealthy["why"]) == (0, "it does not answer /health")
    assert [line["slot"] for line in found.wait("worker_started", 3)] == [0, 1, 0]


def test_a_worker_that_never_answers_is_restarted_after_its_time_to_start(supervise: Any) -> None:
    found = supervise(SLEEPS, START_S="0.2")
    unhealthy = found.wait("worker_unhealthy", 2)
    assert {line["slot"] for line in unhealthy} == {0, 1}
    assert {line["why"] for line in unhealthy} == {"it does not answer /health"}


def test_a_second_ctrl_c_kills_workers_that_do_not_stop(supervise: Any) -> None:
    found = supervise(DEAF)
    found.wait("deaf", 2)
    found.process.send_signal(signal.SIGINT)
    found.wait("stopping")
    found.process.send_signal(signal.SIGINT)
    assert found.process.wait(5) == 128 + signal.SIGINT
    assert all(is_gone(line["pid"]) for line in found.lines("worker_started"))


def test_the_old_worker_continues_if_the_new_one_does_not_load(supervise: Any) -> None:
    found = supervise("import os, sys\nif 'EBBTIDE_TURN' in os.environ: sys.exit(1)\n" + SLEEPS)
    started = found.wait("worker_started", 2)
    found.process.send_signal(signal.SIGHUP)
    [failed] = found.wait("restart_failed")
    assert failed["slot"] == 0
    assert "the old one and the workers after it still run" in failed["why"]
    assert found.lines("worker_started") == started
    assert not any(is_gone(line["pid"]) for line in started)


def test_a_terminal_that_is_closed_stops_the_workers() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, SLEEPS])  # noqa: S606 - that is what a terminal does
    output = b""
    while output.count(b"worker_started") < 2 or not output.endswith(b"\n"):
        output += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    workers = [json.loads(line)["pid"] for line in output.decode().splitlines() if "worker_started" in line]
    assert len(workers) == 2
    assert all(map(is_gone, workers))
