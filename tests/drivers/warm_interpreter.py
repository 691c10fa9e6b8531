"""Programs in processes of their own that need not import what they are made of: that takes two seconds of CPU.

An interpreter imports a module once, and forks for each program (`drivers.warm_server`). The program is a process like
another: it has arguments, an environment and output of its own, and it can be killed, frozen and stopped.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from drivers.limits import HANGS_AFTER_S

TESTS = Path(__file__).resolve().parents[1]


class WarmProcess:
    """A program that was started. What its methods mean is as with subprocess.Popen."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unread = b""
        line = self._line(HANGS_AFTER_S)
        assert line is not None, "the warm interpreter does not answer"
        self.pid = int(line)
        self.returncode: int | None = None

    def send_signal(self, sig: int) -> None:
        """Does nothing if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit status once it has ended; None before."""
        return self._status(0.0)

    def wait(self, timeout: float = HANGS_AFTER_S) -> int:
        """Its exit status; raises subprocess.TimeoutExpired."""
        if (status := self._status(timeout)) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return status

    def _status(self, timeout_s: float) -> int | None:
        if self.returncode is None and (line := self._line(timeout_s)) is not None:
            self.returncode = int(line)
            self._connection.close()
        return self.returncode

    def _line(self, timeout_s: float) -> bytes | None:
        end_s = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            if not select.select([self._connection], [], [], max(0.0, end_s - time.monotonic()))[0]:
                return None
            read = self._connection.recv(64)
            assert read, "the warm interpreter has ended"
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def run_warm(
    module: str, source: str, environment: Mapping[str, str], log: Path, arguments: Sequence[str] = ()
) -> WarmProcess:
    """Runs `source` as `python -c` does, where `module` is imported already; what it prints is appended to `log`."""
    request = {"source": source, "arguments": list(arguments), "environment": dict(environment), "log": str(log)}
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_interpreter(module))
    connection.sendall(json.dumps(request).encode() + b"\n")
    return WarmProcess(connection)


class WarmProgram(NamedTuple):
    """What `run_warm` runs."""

    module: str
    source: str
    arguments: Sequence[str] = ()

    def run(self, environment: Mapping[str, str], log: Path) -> WarmProcess:
        """Starts it."""
        return run_warm(self.module, self.source, environment, log, self.arguments)


@cache
def _interpreter(module: str) -> str:
    """The address of the interpreter that has imported this module. It ends when its standard input does: with us."""
    folder = TemporaryDirectory(prefix="warm-")
    address = f"{folder.name}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "drivers.warm_server", module, address],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", f"no interpreter with {module}"

    def end() -> None:
        process.kill()
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    return address
