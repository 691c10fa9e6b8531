"""Keeps stream workers running: one process a slot, started again when it ends, stopped in order, restarted in turn.

A worker ends itself wherever going on could lose or double something, and relies on being started again.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from infra.stream_workers import Roll, ask

log = structlog.get_logger(part="supervisor")

SUPERVISOR = "EBBTIDE_SUPERVISOR"
"""Names the supervisor's process to a worker, which must not outlive it."""
TURN = "EBBTIDE_TURN"
"""Names a socket to a worker that is to take over: it says there that it is loaded, and waits to be told to begin.

To load a worker takes seconds of a busy machine. Where that came between the end of one and the start of the next, the
group's session could expire meanwhile, and its partitions would move away and back."""
RESTARTS = "EBBTIDE_RESTARTS"
"""Tells a worker how often its slot was started before."""

PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""The wait before a start doubles from the first of these to the second, so that a worker which cannot run costs
little, and one that can again is back soon."""
STEADY_S = 15.0
"""A worker that ran this long has recovered and worked; what ends it then is a new story, and the wait short again."""
REFUSED = 2
REFUSALS = 3
"""How often in a row a slot may end with REFUSED, which a person must mend: starting it again will not."""
BROKER_AWAY = 75
"""EX_TEMPFAIL of sysexits.h: a worker of ours found no broker, and is to be started until there is one."""
STOP_S = 8.0
"""How long a worker may take to stop, above its promise of 5 s, before it is killed."""
READY_S = 300.0
"""How long a rolling restart waits for a worker, many times a recovery, before it leaves the others as they are."""
LOOK_S = 0.2

WHY = {
    0: "it ended in good order, and nobody had asked it to",
    1: "it crashed; its log says how",
    REFUSED: "it refused to start; its log says what to mend",
    70: "it ended itself, for going on could have lost or doubled something; its log says what",
    BROKER_AWAY: "Kafka does not answer",
}


def why_ended(status: int) -> str:
    """What an exit status of a worker means."""
    if status < 0:
        return f"it was killed by {signal.Signals(-status).name}"
    return WHY.get(status, f"it ended with status {status}")


@dataclass(slots=True)
class Successor:
    """A worker that is loaded and waits for its turn."""

    process: asyncio.subprocess.Process
    turn: socket.socket

    async def loads(self) -> bool:
        """Waits until it has; False where it ended instead."""
        return bool(await asyncio.get_running_loop().sock_recv(self.turn, 1))

    def discard(self) -> None:
        """Has it end; it has nothing yet that could be lost."""
        self.turn.close()
        with suppress(ProcessLookupError):
            self.process.kill()

    def begin(self) -> asyncio.subprocess.Process:
        """Has it begin; the process."""
        with suppress(OSError):  # it has ended, and whoever waits for it will hear of that
            self.turn.send(b"1")
        self.turn.close()
        return self.process


@dataclass(slots=True)
class Slot:
    """One worker's place: its number, its web port, and the process that runs in it now."""

    number: int
    port: int
    process: asyncio.subprocess.Process | None = None
    successor: Successor | None = None
    """Takes over as soon as the process has ended."""
    starts: int = 0
    failures: int = 0
    refusals: int = 0

    def note_end(self, status: int, lived_s: float) -> float:
        """How long to wait before the next start."""
        if lived_s > STEADY_S:
            self.failures = self.refusals = 0
        self.refusals = self.refusals + 1 if status == REFUSED else 0
        pause_s = min(LONGEST_PAUSE_S, PAUSE_S * 2**self.failures)
        self.failures += 1
        return float(pause_s)

    @property
    def running(self) -> asyncio.subprocess.Process | None:
        """The process, while it runs."""
        return self.process if self.process is not None and self.process.returncode is None else None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if there is one."""
        if (process := self.running) is not None:
            with suppress(ProcessLookupError):
                process.send_signal(number)


class Supervisor:
    """Runs `command` with a slot's number appended, one process for each of `slots`.

    `note` hears how a rolling restart goes.
    """

    def __init__(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        slots: Sequence[Slot],
        note: Callable[[Roll], object],
    ) -> None:
        self._command = command
        self._variables = {**variables, SUPERVISOR: str(os.getpid())}
        self._slots = slots
        self._note = note
        self._roll = Roll()
        self._ending = asyncio.Event()
        self._interrupts = 0
        self._gave_up = False
        self._rolls: set[asyncio.Task[None]] = set()
        self._has_terminal = sys.stderr.isatty()

    async def run(self) -> int:
        """Supervises until SIGTERM or SIGINT, and restarts the workers in turn at SIGHUP; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._interrupted)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        self._note(self._roll)
        log.info("supervising", workers=len(self._slots), pid=os.getpid())
        keeping = [asyncio.create_task(self._keep(slot)) for slot in self._slots]
        await self._ending.wait()
        clean = await self._stop(keeping)
        if self._gave_up:
            return REFUSED
        return 128 + signal.SIGINT if self._interrupts > 1 else int(not clean)

    async def _keep(self, slot: Slot) -> None:
        while not self._ending.is_set():
            began_s = time.monotonic()
            status = await self._run_once(slot)
            if self._ending.is_set():
                return
            if slot.successor is not None:
                continue
            pause_s = slot.note_end(status, time.monotonic() - began_s)
            if slot.refusals >= REFUSALS:
                self._give_up(slot)
                return
            log.warning("worker_ended", slot=slot.number, status=status, why=why_ended(status), again_in_s=pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause_s)

    async def _run_once(self, slot: Slot) -> int:
        successor, slot.successor = slot.successor, None
        slot.process = successor.begin() if successor is not None else await self._start(slot)
        log.info("worker_started", slot=slot.number, pid=slot.process.pid)
        if self._ending.is_set():
            slot.send(signal.SIGTERM)
        return await slot.process.wait()

    async def _start(self, slot: Slot, turn: socket.socket | None = None) -> asyncio.subprocess.Process:
        passed = () if turn is None else (turn.fileno(),)
        taking_over = {} if turn is None else {TURN: str(turn.fileno())}
        slot.starts += 1
        return await asyncio.create_subprocess_exec(
            *self._command,
            str(slot.number),
            env={**self._variables, **taking_over, RESTARTS: str(slot.starts - 1)},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops them in order
            pass_fds=passed,
        )

    def _give_up(self, slot: Slot) -> None:
        log.critical(
            "gave_up", slot=slot.number, why=f"it refused to start {REFUSALS} times in a row; mend what its log says"
        )
        self._gave_up = True
        self._ending.set()

    # Stopping.

    def _interrupted(self) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            log.warning("killing", why="asked a second time")
            self._send_all(signal.SIGKILL)
        self._ending.set()

    async def _stop(self, keeping: Sequence[asyncio.Task[None]]) -> bool:
        """Whether all workers ended by themselves and in good order."""
        began_s = time.monotonic()
        running = [slot for slot in self._slots if slot.running is not None]
        log.info("stopping", workers=len(running))
        self._send_all(signal.SIGTERM)
        _, late = await asyncio.wait(keeping, timeout=STOP_S)
        if late:
            log.warning("killing", why=f"{len(late)} workers did not stop within {STOP_S:g} s")
            self._send_all(signal.SIGKILL)
            await asyncio.wait(late)
        for task in self._rolls:
            task.cancel()
        await asyncio.gather(*self._rolls, return_exceptions=True)
        for slot in self._slots:
            if slot.successor is not None:
                slot.successor.discard()
        statuses = {slot.number: slot.process.returncode for slot in running if slot.process is not None}
        log.info("stopped", statuses=statuses, took_s=round(time.monotonic() - began_s, 1))
        young = {-signal.SIGTERM, 128 + signal.SIGTERM}  # it had not begun to work
        return all(status == 0 or status in young for status in statuses.values())

    def _send_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            slot.send(number)

    # Restarting in turn.

    def _hung_up(self) -> None:
        if self._has_terminal and not sys.stderr.isatty():  # not a wish for a restart: the terminal was closed
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stderr.fileno())
            self._interrupted()
        elif self._roll.state == "running":
            log.warning("already_restarting", slot=self._roll.slot)
        else:
            task = asyncio.create_task(self._restart_in_turn())
            self._rolls.add(task)
            task.add_done_callback(self._rolls.discard)

    async def _restart_in_turn(self) -> None:
        self._say(Roll(self._roll.number + 1, "running"))
        for slot in self._slots:
            self._say(replace(self._roll, slot=slot.number))
            reason = await self._restart(slot)
            if reason is not None:
                log.error("restart_failed", slot=slot.number, why=reason)
                self._say(replace(self._roll, state="failed", reason=reason))
                return
        log.info("restarted", workers=len(self._slots))
        self._say(replace(self._roll, state="done", slot=None))

    async def _restart(self, slot: Slot) -> str | None:
        """Replaces the worker by a new one; why that went wrong, or None."""
        successor = await self._load_successor(slot)
        if successor is None:
            return f"the new worker {slot.number} did not start; the one before it, and those after it, were left alone"
        slot.successor = successor
        if (process := slot.running) is not None:
            log.info("worker_restarts", slot=slot.number, pid=process.pid)
            slot.send(signal.SIGTERM)
            try:
                await asyncio.wait_for(asyncio.shield(process.wait()), STOP_S)
            except TimeoutError:
                log.warning("killing", slot=slot.number, why=f"it did not stop within {STOP_S:g} s")
                slot.send(signal.SIGKILL)
        if not await self._becomes_ready(slot):
            return f"worker {slot.number} was not ready within {READY_S:g} s; those after it were left alone"
        return None

    async def _load_successor(self, slot: Slot) -> Successor | None:
        """A worker that waits for its turn; None where it ended instead, or took too long."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            successor = Successor(await self._start(slot, theirs), ours)
        loaded = False
        try:
            with suppress(TimeoutError):
                loaded = await asyncio.wait_for(successor.loads(), READY_S)
        finally:
            if not loaded:
                successor.discard()
        return successor if loaded else None

    async def _becomes_ready(self, slot: Slot) -> bool:
        end_s = time.monotonic() + READY_S
        while time.monotonic() < end_s:
            answer = await asyncio.to_thread(ask, slot.port, "/ready")
            new = slot.running if slot.successor is None else None
            if new is not None and answer is not None and answer[0] == 200 and answer[1].get("pid") == new.pid:
                return True
            await asyncio.sleep(LOOK_S)
        return False

    def _say(self, roll: Roll) -> None:
        self._roll = roll
        self._note(roll)
