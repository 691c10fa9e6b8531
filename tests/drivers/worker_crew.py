"""Worker processes by slot: started, signalled, revived, stopped, and read about in what they log."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from drivers.limits import HANGS_AFTER_S
from drivers.warm_interpreter import WarmProcess, WarmProgram

WorkerProcess = subprocess.Popen[bytes] | WarmProcess
STOP_S = 5.0
"""How soon a worker promises to end after SIGTERM."""


class Workers:
    """Worker processes by slot. Leaving the `with` block ends all of them."""

    def __init__(
        self,
        folder: Path,
        program: Callable[[int], Sequence[str] | WarmProgram],
        variables: Callable[[int], Mapping[str, str]],
        begun: bytes = b"recovered",
    ) -> None:
        """`begun` is in the line that a worker logs when it begins to work."""
        self.processes: dict[int, WorkerProcess] = {}
        self.exits: Counter[int] = Counter()
        self.folder = folder
        self._program, self._variables, self._begun = program, variables, begun
        self._begins: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for slot in list(self.processes):
            self.kill(slot)

    def log(self, slot: int) -> Path:
        """Where the worker writes."""
        return self.folder / f"worker-{slot}.log"

    def start(self, slot: int, **variables: str) -> WorkerProcess:
        """Starts the worker of `slot`."""
        program, environment = self._program(slot), {**os.environ, **self._variables(slot), **variables}
        with self.log(slot).open("ab") as log:
            self._begins[slot] = log.tell()
            if isinstance(program, WarmProgram):
                self.processes[slot] = program.run(environment, self.log(slot))
            else:
                self.processes[slot] = subprocess.Popen(
                    program, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        return self.processes[slot]

    def send(self, slot: int, what: signal.Signals) -> None:
        """Sends a signal to a worker."""
        os.kill(self.processes[slot].pid, what)

    def kill(self, slot: int) -> None:
        """SIGKILL, and its body taken away."""
        process = self.processes.pop(slot)
        process.kill()
        process.wait()

    def stop(self, slot: int, within_s: float = STOP_S) -> None:
        """Sends SIGTERM. Fails if the end takes longer than `within_s`, or is a bad one."""
        process = self.processes.pop(slot)
        process.terminate()
        try:
            status = process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"worker {slot} did not stop within {within_s} s\n{self.tail(slot)}") from None
        young = status == -signal.SIGTERM and not self.has_recovered(slot)  # it had no handler yet
        assert status == 0 or young, f"worker {slot} ended with {status}\n{self.tail(slot)}"

    def has_recovered(self, slot: int) -> bool:
        """Whether the worker that runs now has begun to work."""
        return self._begun in self.log(slot).read_bytes()[self._begins[slot] :]

    def wait_until_recovered(self, *slots: int, within_s: float = HANGS_AFTER_S) -> None:
        """Waits until these workers have begun, or all."""
        end = time.monotonic() + within_s
        while not all(map(self.has_recovered, slots or self.processes)):
            self.revive()
            assert time.monotonic() < end, "\n".join(map(self.tail, self.processes))
            time.sleep(0.1)

    def wait_until_stopped(self, slot: int, within_s: float = HANGS_AFTER_S) -> None:
        """Waits until the worker holds still at a failpoint (`:stop`)."""
        status = Path(f"/proc/{self.processes[slot].pid}/status")
        end = time.monotonic() + within_s
        while "State:\tT" not in status.read_text():
            assert time.monotonic() < end, self.tail(slot)
            time.sleep(0.05)

    def revive(self) -> None:
        """Starts those again that ended by themselves, as a supervisor does."""
        for slot, process in list(self.processes.items()):
            status = process.poll()
            if status is not None:
                self.exits[status] += 1
                self.start(slot)

    def tail(self, slot: int, lines: int = 25) -> str:
        """The last lines that the worker wrote."""
        return "\n".join(self.log(slot).read_text(errors="replace").splitlines()[-lines:])
