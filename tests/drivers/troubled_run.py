"""A run in which trouble happens to workers: killed, frozen, stopped, joined by others. It says how it goes."""

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drivers.worker_crew import Workers
from rich.console import Console

from infra.local.layout import PROJECT_ROOT

TESTS = Path(__file__).resolve().parents[1]
SAY_S = 10.0
REVIVE_S = 1.0
STOP_WITHIN_S = 30.0


@dataclass(frozen=True)
class Trouble:
    """One thing: when, in seconds after the beginning, and with what."""

    at_s: float
    kind: str
    detail: str = ""
    seconds: float = 0.0
    dice: float = 0.0
    """In [0, 1): chooses among what is there when it happens."""


class TroubledRun(ABC):
    """A crew, its clients, what is done to it, and what is due later. `close` ends everything that was started.

    Each kind of trouble is a method of that name behind `_`; subclasses add kinds.
    """

    def __init__(self, crew: Workers, console: Console, most_workers: int) -> None:
        self.crew, self.console = crew, console
        self.clients: list[subprocess.Popen[bytes]] = []
        self.happened: Counter[str] = Counter()
        self.began_s = self.said_s = self.revived_s = time.monotonic()
        self._most_workers = most_workers
        self._later: list[tuple[float, Callable[[], None]]] = []

    @abstractmethod
    def progress(self) -> str:
        """How the run goes, in a line."""

    def tick(self) -> None:  # noqa: B027  # a run need not do anything then
        """Called ten times a second while time passes."""

    def close(self) -> None:
        """Ends the processes."""
        for process in self.clients:
            process.kill()
            process.wait()
        self.crew.__exit__()

    # time ------------------------------------------------------------------------------------------------------------

    def later(self, after_s: float, action: Callable[[], None]) -> None:
        """Does something once so much time has passed."""
        self._later.append((time.monotonic() + after_s, action))

    def pass_time(self, until_s: float) -> None:
        """Lets the run go on, does what is due, and says how it goes."""
        while (now_s := time.monotonic()) < until_s:
            self._do_what_is_due(now_s)
            if now_s - self.revived_s > REVIVE_S:
                self.revive()
            if now_s - self.said_s > SAY_S:
                self.say()
            self.tick()
            time.sleep(0.1)
        self._do_what_is_due(until_s)

    def _do_what_is_due(self, now_s: float) -> None:
        due = [action for at_s, action in self._later if at_s <= now_s]
        self._later = [each for each in self._later if each[0] > now_s]
        for action in due:
            action()

    def finish_what_is_due_later(self) -> None:
        """Lets time pass until nothing is due later."""
        while self._later:
            self.pass_time(max(at_s for at_s, _ in self._later))

    def say(self, what: str = "") -> None:
        """One line: what happens, or how it goes."""
        now_s = time.monotonic()
        self.said_s = self.said_s if what else now_s
        line = f"[{now_s - self.began_s:5.0f} s] "
        self.console.print(line + (what or self.progress()), markup=False, highlight=False, soft_wrap=True)

    # workers ---------------------------------------------------------------------------------------------------------

    def start(self, slot: int) -> None:
        """Starts a worker, unless it runs."""
        running = self.crew.processes.get(slot)
        if running is None or running.poll() is not None:
            self.crew.start(slot)

    def revive(self) -> None:
        """Restarts each worker that ended without a stop, as a supervisor does."""
        self.revived_s = time.monotonic()
        for slot, process in list(self.crew.processes.items()):
            status = process.poll()
            if status is not None:
                self.crew.exits[status] += 1
                self.happened[f"ended with {status}"] += 1
                self.crew.start(slot)

    def stop(self, slot: int) -> None:
        """Stops a worker in order, also a frozen one, and notes with what it ended."""
        process = self.crew.processes.pop(slot)
        process.terminate()
        process.send_signal(signal.SIGCONT)
        try:
            status = process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.happened["did not stop"] += 1
        else:
            self.happened[f"stopped with {status}"] += 1

    # clients ---------------------------------------------------------------------------------------------------------

    def start_client(self, module: str, *arguments: object) -> subprocess.Popen[bytes]:
        """Starts a module of the tests as a program; its log has the module's last name."""
        with (self.crew.folder / f"{module.rpartition('.')[2]}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                env={**os.environ, "PYTHONPATH": f"{PROJECT_ROOT}:{TESTS}"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self.clients.append(process)
        return process

    def finish_feed(self, feed: subprocess.Popen[bytes]) -> None:
        """Lets the run go on until the feed has ended; raises RuntimeError if it failed."""
        while feed.poll() is None:
            self.pass_time(time.monotonic() + 1)
        if feed.returncode:
            said = (self.crew.folder / "feed.log").read_text()[-2000:]
            raise RuntimeError(f"the feed ended with {feed.returncode}: {said}")

    # trouble ---------------------------------------------------------------------------------------------------------

    def happens(self, each: Trouble) -> None:
        """One trouble."""
        self.happened[each.kind] += 1
        self.say(f"{each.kind} {each.detail}".strip())
        getattr(self, f"_{each.kind}")(each)

    def chosen(self, each: Trouble) -> int:
        """The worker that it happens to."""
        slots = sorted(self.crew.processes)
        return slots[int(each.dice * len(slots))]

    def _kill(self, each: Trouble) -> None:
        """Kills a worker; another takes its slot at once, or after a while."""
        slot = self.chosen(each)
        self.crew.kill(slot)
        self._start_later(slot, each.seconds)

    def _start_later(self, slot: int, after_s: float) -> None:
        if after_s:
            self.later(after_s, lambda: self.start(slot))
        else:
            self.start(slot)

    def _freeze(self, each: Trouble) -> None:
        process = self.crew.processes[self.chosen(each)]
        process.send_signal(signal.SIGSTOP)
        self.later(each.seconds, lambda: process.send_signal(signal.SIGCONT))

    def _term(self, each: Trouble) -> None:
        slot = self.chosen(each)
        self.stop(slot)
        self.start(slot)

    def _add(self, each: Trouble) -> None:  # noqa: ARG002 - the lowest slot that is free
        free = [slot for slot in range(self._most_workers) if slot not in self.crew.processes]
        if free:
            self.start(free[0])

    def _remove(self, each: Trouble) -> None:
        if len(self.crew.processes) > 1:
            self.stop(self.chosen(each))
