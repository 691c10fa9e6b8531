"""A server process is found again by its record, and nothing else is ever taken for it."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.service import processes
from infra.service.processes import Process

SLEEP = ["sleep", "60"]


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = processes.spawn(SLEEP, tmp_path / "logs" / "sleeper.log", port=1)
    yield process
    processes.end(process, signal.SIGKILL, 5.0)


def test_a_remembered_process_is_recalled(sleeper: Process, tmp_path: Path) -> None:
    record = tmp_path / "run" / "sleeper.json"
    processes.remember(sleeper, record)
    assert processes.recall(record) == sleeper
    assert abs(sleeper.started_at() - time.time()) < 30


def test_a_spawned_process_has_its_own_session(sleeper: Process) -> None:
    assert processes.wait_until(lambda: os.getsid(sleeper.pid) == sleeper.pid, 5.0)


def test_output_goes_to_the_log_and_the_last_log_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "echo.log"
    for text in ("first", "second"):
        process = processes.spawn(["sh", "-c", f"echo {text}; echo problem >&2"], log, port=1)
        assert processes.wait_until(lambda process=process: not process.alive(), 5.0)
    assert log.read_text() == "second\nproblem\n"
    assert (tmp_path / "echo.log.1").read_text() == "first\nproblem\n"


def test_a_process_that_ended_is_not_recalled_and_its_record_goes(sleeper: Process, tmp_path: Path) -> None:
    record = tmp_path / "sleeper.json"
    processes.remember(sleeper, record)
    processes.end(sleeper, signal.SIGTERM, 5.0)
    assert processes.recall(record) is None
    assert not record.exists()


def test_a_zombie_counts_as_ended(sleeper: Process) -> None:
    os.kill(sleeper.pid, signal.SIGKILL)  # we are its parent and do not collect it
    assert processes.wait_until(lambda: not sleeper.alive(), 5.0)
    assert " Z " in Path(f"/proc/{sleeper.pid}/stat").read_text()


@pytest.mark.parametrize("change", [{"started_ticks": 1}, {"boot": "another boot"}])
def test_a_recycled_pid_is_never_taken_for_the_server(
    sleeper: Process, tmp_path: Path, change: dict[str, object]
) -> None:
    record = tmp_path / "server.json"
    stale = dataclasses.replace(sleeper, **change)  # type: ignore[arg-type]
    processes.remember(stale, record)
    assert processes.recall(record) is None
    processes.end(stale, signal.SIGKILL, 0.1)
    assert sleeper.alive()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "null"])
def test_an_unreadable_record_names_no_process(tmp_path: Path, text: str) -> None:
    record = tmp_path / "server.json"
    record.write_text(text)
    assert processes.recall(record) is None
    assert not record.exists()


def test_a_process_that_ignores_the_first_signal_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    stubborn = processes.spawn(
        ["sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 1; done"], tmp_path / "log", port=1
    )
    assert processes.wait_until(ready.exists, 5.0)
    processes.end(stubborn, signal.SIGTERM, 0.2)
    assert not stubborn.alive()


def test_a_server_whose_record_is_lost_is_found_by_its_arguments(tmp_path: Path) -> None:
    mark = tmp_path / "server.properties"
    server = processes.spawn(["sh", "-c", "sleep 60; :", mark], tmp_path / "log", port=1)
    # Not a server: the same argument, but not the leader of a session.
    with subprocess.Popen(["sh", "-c", "sleep 60; :", mark]) as editor:
        try:
            assert processes.wait_until(lambda: processes.find([mark]) is not None, 5.0)
            assert processes.find([mark]) == dataclasses.replace(server, port=processes.UNKNOWN_PORT)
            assert processes.find([mark, tmp_path / "other"]) is None
            processes.end(server, signal.SIGKILL, 5.0)
            assert processes.find([mark]) is None
        finally:
            editor.kill()


class NewestFirst(type(Path())):  # type: ignore[misc]
    """A directory of processes that lists a child before its parent, as /proc does once the pids start again from 1."""

    def iterdir(self) -> Iterator[Path]:
        return iter(sorted(super().iterdir(), key=lambda at: int(at.name) if at.name.isdecimal() else 0, reverse=True))


def test_a_child_that_still_shows_the_servers_command_line_is_not_the_server(tmp_path: Path) -> None:
    mark, forked = tmp_path / "cluster", tmp_path / "forked"
    program = f"import os, time; os.fork() or (os.setsid(), open({str(forked)!r}, 'w')); time.sleep(60)"
    server = processes.spawn([sys.executable, "-c", program, mark], tmp_path / "log", port=1)
    try:
        assert processes.wait_until(forked.exists, 10.0)
        found = processes.find([mark], NewestFirst("/proc"))
        assert found is not None
        assert found.pid == server.pid
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        while (rest := processes.find([mark])) is not None:
            processes.end(rest, signal.SIGKILL, 5.0)
