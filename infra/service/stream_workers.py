"""Which stream workers run on this machine: what is written down of them, and what they answer over HTTP.

Under the data folder of an instance: `workers/<slot>.json` by each worker, `supervisor.json` by the supervisor. A
record is believed only while exactly that process lives.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Literal

from infra.service.processes import NEVER, Process, boot_id, recall, remember, start_ticks
from schemas.errors import UserError

ASK_S = 2.0
"""How long a worker may take to answer: its event loop is held for some tens of milliseconds, never longer."""


class SupervisorRuns(UserError):
    """Another supervisor of this instance is there."""


class NoSupervisor(UserError):
    """No supervisor of this instance is there."""


@dataclass(frozen=True, slots=True)
class Roll:
    """A rolling restart: its number, its state, and why it failed."""

    number: int = 0
    state: Literal["none", "running", "done", "failed"] = "none"
    slot: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Supervision:
    """What a supervisor says of itself. `ports` are the web ports of the slots that should run."""

    process: Process
    ports: dict[int, int]
    roll: Roll = field(default_factory=Roll)


class Records:
    """The records below one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir
        self._supervisor = data_dir / "supervisor.json"

    @contextmanager
    def supervising(self, instance: str) -> Iterator[None]:
        """Is the one supervisor while it lasts; raises SupervisorRuns where there is another."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "supervisor.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = self.supervision()
                who = f" (pid {other.process.pid})" if other else ""
                raise SupervisorRuns(
                    f"the stream workers of instance {instance} already have a supervisor{who}; "
                    "`ebbtide streams status` shows it, `ebbtide streams restart` restarts its workers"
                ) from None
            try:
                yield
            finally:
                self._supervisor.unlink(missing_ok=True)

    def note_supervision(self, supervision: Supervision) -> None:
        """Writes down what the supervisor says, whole or not at all."""
        part = self._supervisor.with_suffix(".part")
        part.write_text(json.dumps(asdict(supervision)))
        part.replace(self._supervisor)

    def supervision(self) -> Supervision | None:
        """What the supervisor that runs says; None where none runs."""
        try:
            found = json.loads(self._supervisor.read_text())
            process, roll = Process(**found["process"]), Roll(**found["roll"])
            ports = {int(slot): int(port) for slot, port in found["ports"].items()}
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return Supervision(process, ports, roll) if process.alive() else None

    def note_worker(self, slot: int, process: Process) -> None:
        """Writes down that a worker runs in `slot`."""
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


def ask(port: int, page: str) -> tuple[int, Any] | None:
    """The HTTP status and the JSON that the worker on `port` answers; None where none comes in time. Blocks."""
    connection = HTTPConnection("127.0.0.1", port, timeout=ASK_S)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
