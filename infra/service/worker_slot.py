"""One worker's slot under a supervisor: its process, its successor, and the pauses between starts.

The supervisor passes SUPERVISOR, RESTARTS, TURN and LISTENER to a worker in its environment.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from infra.service.page_client import read_page

log = structlog.get_logger(part="supervisor")

SUPERVISOR = "EBBTIDE_SUPERVISOR"
"""The supervisor's process id: a worker must not outlive it."""
TURN = "EBBTIDE_TURN"
"""The socket of a successor: it reports there that it is loaded, and waits for the byte that starts it.

Loading takes seconds on a busy machine. If it happened between the end of one worker and the start of the next, the
group's session could expire, and partitions would move away and back."""
LISTENER = "EBBTIDE_LISTENER"
"""The listening socket that the workers share: a connection waits in its queue while a worker restarts, and none is
refused or reset."""
RESTARTS = "EBBTIDE_RESTARTS"
"""How often the slot was started before."""

PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""The pause before a start doubles from the first to the second. So a worker that cannot run costs little, and one that
can run again is back soon."""
STEADY_S = 15.0
"""A worker that ran this long has recovered and worked, so its next end counts as the first failure again."""
REFUSED = 2
KAFKA_AWAY = 75
"""EX_TEMPFAIL of sysexits.h: Kafka did not answer the worker; the supervisor starts it again until Kafka does."""
STOP_S = 12.0
"""How long a worker may take to stop before it is killed: stream workers promise 5 s, delivery workers 10 s."""
READY_S = 300.0
"""How long a rolling restart waits for a worker, many times a recovery, before it leaves the others as they are."""
LOOK_S = 0.2

WHY = {
    0: "it stopped without a request to stop",
    1: "it crashed; its log says how",
    REFUSED: "it refused to start; its log says what to fix",
    70: "it ended itself, because going on could lose or double something; its log says what",
    KAFKA_AWAY: "Kafka does not answer",
}


def why_ended(status: int) -> str:
    """What an exit status of a worker means."""
    if status < 0:
        return f"it was killed by {signal.Signals(-status).name}"
    return WHY.get(status, f"it ended with status {status}")


@dataclass(frozen=True, slots=True)
class Successor:
    """A worker that is loaded and waits to begin."""

    process: asyncio.subprocess.Process
    turn: socket.socket

    async def loads(self) -> bool:
        """Waits until it is loaded; False if it ends or takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                return bool(await asyncio.get_running_loop().sock_recv(self.turn, 1))
        return False

    def begin(self) -> asyncio.subprocess.Process:
        """Lets it begin, and returns its process."""
        with suppress(OSError):  # it has ended, which waiting for it reports
            self.turn.send(b"1")
        self.turn.close()
        return self.process

    async def discard(self) -> None:
        """Kills it; it has no work yet to lose."""
        self.turn.close()
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@dataclass(slots=True)
class Slot:
    """One worker under the supervisor: `command` with the number appended, run with `variables`."""

    number: int
    port: int
    """Of its web pages."""
    command: Sequence[str]
    variables: Mapping[str, str]
    listener: int | None = None
    """The descriptor of a listening socket that the workers of all slots share."""
    process: asyncio.subprocess.Process | None = None
    successor: Successor | None = None
    """Takes over as soon as the process has ended."""
    starts: int = 0
    failures: int = 0
    refusals: int = 0
    """In a row."""

    @property
    def running(self) -> asyncio.subprocess.Process | None:
        """The process, while it runs."""
        return self.process if self.process is not None and self.process.returncode is None else None

    async def begin(self) -> asyncio.subprocess.Process:
        """Lets the successor begin, or starts a worker."""
        successor, self.successor = self.successor, None
        self.process = successor.begin() if successor is not None else await self._start()
        log.info("worker_started", slot=self.number, pid=self.process.pid)
        return self.process

    async def load_successor(self) -> bool:
        """Loads a worker beside the running one; returns whether it is ready to begin."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            successor = Successor(await self._start(theirs), ours)
        loaded = False
        try:
            loaded = await successor.loads()
        finally:
            if not loaded:
                await successor.discard()
        self.successor = successor if loaded else None
        return loaded

    async def drop_successor(self) -> None:
        """Ends a successor that has not begun."""
        if self.successor is not None:
            await self.successor.discard()

    async def _start(self, turn: socket.socket | None = None) -> asyncio.subprocess.Process:
        shared = {} if self.listener is None else {LISTENER: self.listener}
        taking_over = {} if turn is None else {TURN: turn.fileno()}
        passed = shared | taking_over
        own = {SUPERVISOR: str(os.getpid()), RESTARTS: str(self.starts)}
        self.starts += 1
        return await asyncio.create_subprocess_exec(
            *self.command,
            str(self.number),
            env={**self.variables, **own, **{name: str(number) for name, number in passed.items()}},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops the workers in order
            pass_fds=tuple(passed.values()),
        )

    def pause_after(self, status: int, lived_s: float) -> float:
        """Counts an end of the worker; returns how long to wait before the next start."""
        if lived_s > STEADY_S:
            self.failures = self.refusals = 0
        self.refusals = self.refusals + 1 if status == REFUSED else 0
        pause_s = min(LONGEST_PAUSE_S, PAUSE_S * 2**self.failures)
        self.failures += 1
        return float(pause_s)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if there is one."""
        if (process := self.running) is not None:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def end(self) -> None:
        """Stops the process, if there is one; kills it if it does not stop in time."""
        if (process := self.running) is None:
            return
        log.info("worker_restarts", slot=self.number, pid=process.pid)
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            log.warning("killing", slot=self.number, why=f"it did not stop within {STOP_S:g} s")
            with suppress(ProcessLookupError):
                process.kill()

    async def becomes_ready(self) -> bool:
        """Waits until the worker reports that it is ready, a successor once it has begun; False if not in time."""
        end_s = time.monotonic() + READY_S
        while time.monotonic() < end_s:
            answer = await asyncio.to_thread(read_page, self.port, "/ready")
            new = self.running if self.successor is None else None
            if new is not None and answer is not None and answer[0] == 200 and answer[1].get("pid") == new.pid:
                return True
            await asyncio.sleep(LOOK_S)
        return False
