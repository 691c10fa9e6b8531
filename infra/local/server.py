"""The common part of the native Kafka and TimescaleDB: one process, one port, one record, one log."""

import signal
import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from infra.local.engine import ReportLine, ServerStatus, State, quiet
from infra.local.fetching import locked
from infra.local.holders import LOOPBACK, answers, require_free
from infra.local.layout import Layout
from infra.local.ports import Ports
from infra.local.problems import SetupProblem
from infra.service import processes
from infra.service.processes import Process

START_TIMEOUT_S = 120.0  # a killed broker reads its logs again: half a minute on a busy machine
STOP_TIMEOUT_S = 30.0


class NativeServer(ABC):
    """A server process that is started, found again, stopped and killed. See `infra.local.engine.Server`."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, layout: Layout, ports: Ports, report: ReportLine = quiet) -> None:
        self.layout = layout
        self.ports = ports
        self.report = report

    @property
    @abstractmethod
    def port(self) -> int:
        """The port that clients connect to."""

    @property
    @abstractmethod
    def marks(self) -> tuple[Path, ...]:
        """Arguments that only the command line of this server's process has."""

    @abstractmethod
    def install(self) -> bool:
        """Installs the programs; true if they had to be fetched."""

    @abstractmethod
    def prepare(self) -> None:
        """Writes the configuration, creates the data directory, and removes remains of a crash that block a start."""

    @abstractmethod
    def command(self) -> list[str | Path]:
        """The command to run after `prepare`."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the running process answers a real request now."""

    @abstractmethod
    def complete(self) -> None:
        """Sets up the server when it answers. It may be called more than once."""

    @property
    def log(self) -> Path:
        """The file of its output."""
        return self.layout.log(self.name)

    def require_ports(self) -> None:
        """Raises `SetupProblem` if another process has a port of this server."""
        require_free(self.port, self.name)

    def process(self) -> Process | None:
        """The running process: the recorded one, or one whose record was lost."""
        recorded = processes.recall(self.layout.record(self.name))
        return recorded or processes.find(self.marks)

    def misplaced(self) -> bool:
        """Whether it runs on another port than the requested one."""
        process = self.process()
        return process is not None and process.port != self.port

    def start(self) -> bool:
        """Starts it; it answers on return. True if it was not running, or ran on another port."""
        with self._lock():
            process = self.process()
            if process is not None and process.port == self.port and self._comes_up(process):
                return False
            self.require_ports()  # before it gives up its present port
            if process is not None:
                self._stop(process)
            self.install()
            self.prepare()
            process = processes.spawn(self.command(), self.log, self.port)
            processes.remember(process, self.layout.record(self.name))
            if not self._comes_up(process):
                raise SetupProblem(f"{self.name} ended while starting ({self._last_line()}): see {self.log}")
            return True

    def stop(self) -> bool:
        """Stops it cleanly; true if it was running."""
        with self._lock():
            process = self.process()
            if process is not None:
                self._stop(process)
            return process is not None

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        process = self.process()
        if process is not None:
            processes.end(process, signal.SIGKILL, STOP_TIMEOUT_S)

    def status(self) -> ServerStatus:
        """Its state now, without waiting."""
        address, process = f"{LOOPBACK}:{self.port}", self.process()
        if process is None:
            return ServerStatus(self.name, "stopped", address)
        detail = ""
        if process.port != self.port:
            address = f"{LOOPBACK}:{process.port}"
            detail = f"the port base asks for {self.port}: `make up` moves it"
        state: State = "running" if answers(process.port) else "starting"
        since = datetime.fromtimestamp(process.started_at(), UTC)
        return ServerStatus(self.name, state, address, process.pid, since, detail)

    def _lock(self) -> AbstractContextManager[None]:
        return locked(self.layout.home / "run" / f"{self.name}.lock")

    def _stop(self, process: Process) -> None:
        processes.end(process, self.stop_signal, STOP_TIMEOUT_S)
        self.layout.record(self.name).unlink(missing_ok=True)

    def _comes_up(self, process: Process) -> bool:
        """Waits until it answers; false if the process ends before."""
        began = time.monotonic()
        while process.alive():
            if answers(self.port) and self.ready():
                self.complete()
                return True
            if time.monotonic() - began > START_TIMEOUT_S:
                processes.end(process, signal.SIGKILL, STOP_TIMEOUT_S)
                raise SetupProblem(f"{self.name} did not answer within {START_TIMEOUT_S:.0f} s: see {self.log}")
            time.sleep(processes.POLL_S)
        return False

    def _last_line(self, longest: int = 200) -> str:
        with self.log.open(errors="replace") as file:
            last = deque((line.strip() for line in file if line.strip()), maxlen=1)
        return last[0][:longest] if last else "it printed nothing"
