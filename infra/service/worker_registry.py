"""Which workers of one kind run on this machine: what they and their supervisor write down.

A folder holds `workers/<slot>.json`, which each worker writes, and `supervisor.json`, which the supervisor writes. A
record counts only while exactly that process lives.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from infra.service.processes import NEVER, Process, boot_id, recall, remember, start_ticks
from schemas.errors import UserError


class SupervisorRuns(UserError):
    """Another supervisor of the same workers runs."""


class NoSupervisor(UserError):
    """No supervisor of these workers runs."""


@dataclass(frozen=True, slots=True)
class WorkerKind:
    """A kind of worker: its name on the command line (`ebbtide run NAME`), and what people call it."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class RollingRestart:
    """The last rolling restart: its number, its state, the slot that restarts now, and why it failed."""

    number: int = 0
    state: Literal["none", "running", "done", "failed"] = "none"
    slot: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Supervision:
    """What a supervisor reports. `ports` are the ports of the pages of all slots."""

    process: Process
    ports: dict[int, int]
    restart: RollingRestart = field(default_factory=RollingRestart)


class WorkerRegistry:
    """The records of the workers of one kind and instance, below `folder`."""

    def __init__(self, folder: Path, kind: WorkerKind, instance: str) -> None:
        self._folder = folder
        self._kind = kind
        self._instance = instance
        self._supervisor = folder / "supervisor.json"

    @contextmanager
    def supervising(self) -> Iterator[None]:
        """Keeps other supervisors out; raises SupervisorRuns if one runs."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "supervisor.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = self.supervision()
                name, who = self._kind.name, f" (pid {other.process.pid})" if other else ""
                raise SupervisorRuns(
                    f"the {self._kind.title}s of instance {self._instance} already have a supervisor{who}; "
                    f"`ebbtide {name} status` shows it, `ebbtide {name} restart` restarts its workers"
                ) from None
            try:
                yield
            finally:
                self._supervisor.unlink(missing_ok=True)

    def note_supervision(self, supervision: Supervision) -> None:
        """Writes the supervisor's record, whole or not at all."""
        part = self._supervisor.with_suffix(".part")
        part.write_text(json.dumps(asdict(supervision)))
        part.replace(self._supervisor)

    def supervision(self) -> Supervision | None:
        """What the supervisor reports; None if none runs."""
        try:
            found = json.loads(self._supervisor.read_text())
            process, restart = Process(**found["process"]), RollingRestart(**found["restart"])
            ports = {int(slot): int(port) for slot, port in found["ports"].items()}
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return Supervision(process, ports, restart) if process.alive() else None

    def require_supervision(self) -> Supervision:
        """What the supervisor reports; raises NoSupervisor if none runs."""
        found = self.supervision()
        if found is None:
            raise NoSupervisor(
                f"no supervisor of {self._kind.title}s runs for instance {self._instance}: "
                f"`ebbtide run {self._kind.name} --workers N` starts one"
            )
        return found

    def note_worker(self, slot: int, process: Process) -> None:
        """Records the worker that runs in `slot`."""
        remember(process, self._worker(slot))

    def workers(self) -> dict[int, Process]:
        """The workers that run, by slot."""
        slots = (int(file.stem) for file in (self._folder / "workers").glob("*.json") if file.stem.isdecimal())
        found = {slot: recall(self._worker(slot)) for slot in slots}
        return {slot: process for slot, process in sorted(found.items()) if process is not None}

    def _worker(self, slot: int) -> Path:
        return self._folder / "workers" / f"{slot}.json"


def as_process(pid: int, port: int = 0) -> Process:
    """The process that has this id now."""
    return Process(pid, start_ticks(pid) or NEVER, boot_id(), port)
