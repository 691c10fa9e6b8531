"""What a supervisor and its workers write down, and the status that is made of it if little answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from drivers.free_ports import free_port

from cli.environment import STREAMS, Environment
from cli.operations.worker_status import WorkerStatus, look
from cli.operations.worker_tables import duration
from infra.service.worker_registry import RollingRestart, Supervision, SupervisorRuns, WorkerRegistry, as_process


def registry_in(folder: Path) -> WorkerRegistry:
    return WorkerRegistry(folder, STREAMS, "main")


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_record_counts_only_while_its_process_lives(tmp_path: Path, ended: int) -> None:
    registry = registry_in(tmp_path)
    with registry.supervising():
        registry.note_supervision(Supervision(as_process(os.getpid()), {0: 21004}, RollingRestart(3, "running", 0)))
        assert registry.supervision() == Supervision(
            as_process(os.getpid()), {0: 21004}, RollingRestart(3, "running", 0)
        )
        registry.note_supervision(Supervision(as_process(ended), {0: 21004}))
        assert registry.supervision() is None
    registry.note_worker(0, as_process(os.getpid(), 21004))
    registry.note_worker(1, as_process(ended, 21005))
    assert registry.workers() == {0: as_process(os.getpid(), 21004)}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"process": 1, "restart": {}, "ports": {}}'])
def test_a_record_that_cannot_be_read_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "supervisor.json").write_text(text)
    assert registry_in(tmp_path).supervision() is None


def test_there_is_one_supervisor_at_a_time(tmp_path: Path) -> None:
    with (
        registry_in(tmp_path).supervising(),
        pytest.raises(SupervisorRuns, match="the stream workers of instance main already have a supervisor"),
        registry_in(tmp_path).supervising(),
    ):
        pass
    with registry_in(tmp_path).supervising():
        pass


def test_the_status_names_workers_that_should_run_but_do_not_even_without_kafka(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBBTIDE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EBBTIDE_KAFKA", f"127.0.0.1:{free_port()}")
    registry = registry_in(tmp_path)
    with registry.supervising():
        registry.note_supervision(Supervision(as_process(os.getpid()), {0: free_port(), 1: free_port()}))
        registry.note_worker(1, as_process(os.getpid(), free_port()))
        found = look(Environment.of(), STREAMS)
    assert found.supervisor == os.getpid()
    assert [(worker["slot"], worker["pid"]) for worker in found.workers] == [(0, None), (1, os.getpid())]
    assert found.workers[0]["state"] == "stopped"
    assert [problem.partition(" at ")[0] for problem in found.problems] == ["Kafka does not answer"]
    assert not found.all_run


@pytest.mark.parametrize(
    ("states", "all_run"),
    [((), False), (("ready", "recovering", "starting"), True), (("ready", "stopped"), False), (("silent",), False)],
)
def test_all_run_if_no_worker_is_stopped_or_silent(states: tuple[str, ...], all_run: bool) -> None:
    assert WorkerStatus(1, [{"state": state} for state in states]).all_run is all_run


def test_durations_are_short() -> None:
    assert [duration(s) for s in (0.4, 61, 3_725)] == ["0s", "1m01s", "1h02m"]
