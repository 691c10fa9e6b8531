"""The demo's processes: it starts and watches them, and always stops them."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.errors import UserError

STOP_S = 15.0
"""How long a worker may take to stop on its own, several times its limit of 5 s, before it is killed."""


class DemoProcessEnded(UserError):
    """A process of the demo ended before it should."""


class DemoProcesses:
    """Processes of the demo, in the order of their start. Leaving the `with` block stops them in reverse order."""

    def __init__(self, variables: Mapping[str, str], logs: Path) -> None:
        self._variables = dict(variables)
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def start(self, name: str, *arguments: str, module: str = "cli.main") -> int:
        """Starts `ebbtide ARGUMENTS`, whose output goes to the log of that name; returns its process id.

        With `module`, another program of ours.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the demo, which stops them in order
            )
        return self._running[name].pid

    def stop(self, name: str) -> None:
        """Asks the process to stop, and kills it if it does not."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, name: str) -> None:
        """Ends the process at once, as a crash would."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def check(self) -> None:
        """Raises DemoProcessEnded if a process has ended, with the last line and the path of its log."""
        for name, process in self._running.items():
            if process.poll() is not None:
                log = self._logs / f"{name}.log"
                lines = log.read_text(errors="replace").strip().splitlines() or ["(nothing logged)"]
                raise DemoProcessEnded(f"{name} ended with status {process.returncode}: {lines[-1]} (see {log})")
