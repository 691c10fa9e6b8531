"""Ctrl-C ends a backtest with all its processes, and leaves no file."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

RULE = "trigger: hello\npurpose: marketing\non: ping\nsend: hello\n"
BOUND_S = 60
LINE = {"id": "1", "user_id": "u", "type": "ping", "time": "2026-01-05T12:00:00Z", "properties": {"x": "y" * 900}}


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_ctrl_c_ends_every_process_and_leaves_no_file(tmp_path: Path) -> None:
    rules, scratch = tmp_path / "rule.yaml", tmp_path / "scratch"
    rules.write_text(RULE)
    scratch.mkdir()
    command = [sys.executable, "-m", "cli.main", "backtest", str(rules), "--events", "-", "--processes", "2"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(scratch)}
    ) as started:
        assert started.stdin is not None
        assert started.stderr is not None
        started.stdin.write((json.dumps(LINE) + "\n").encode() * 12_000)  # more than two blocks; then it waits for more
        started.stdin.flush()
        bound = time.monotonic() + BOUND_S
        while not list(scratch.glob("ebbtide-backtest-*/*")):  # a process has written records
            assert time.monotonic() < bound, started.poll()
            time.sleep(0.05)
        children = children_of(started.pid)
        started.send_signal(signal.SIGINT)
        assert started.wait(BOUND_S) == 130, started.stderr.read()
        assert b"Traceback" not in started.stderr.read()
    assert list(scratch.iterdir()) == []
    assert len(children) >= 2
    assert not [child for child in children if Path(f"/proc/{child}/cwd").exists()]


def test_a_reader_that_leaves_ends_a_backtest_without_a_word_and_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "rule.yaml").write_text(RULE)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    lines = "".join(json.dumps(LINE | {"id": str(number)}) + "\n" for number in range(900))
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "cli.main", "backtest", str(tmp_path / "rule.yaml"), "--events", "-", "--json"]
    done = subprocess.run(
        command,
        input=lines.encode(),
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    os.close(writing)
    assert b"Traceback" not in done.stderr, done.stderr
    assert done.returncode == 128 + signal.SIGPIPE
    assert list(scratch.iterdir()) == []
