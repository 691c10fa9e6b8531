"""Keeps workers of one kind running: one process a slot, restarted when it ends, stopped together, replaced in turn.

A worker ends itself if to continue could lose or duplicate something, and relies on the supervisor to restart it.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from infra.service.liveness import LivenessProbe
from infra.service.worker_registry import RollingRestart
from infra.service.worker_slot import READY_S, REFUSED, STOP_S, Slot, why_ended
from schemas.waiting import event_within

log = structlog.get_logger(part="supervisor")

REFUSALS = 3
"""How often in a row a slot may end with REFUSED: a person must fix the reason, a restart does not."""


class Supervisor:
    """Keeps a worker running in each of `slots`, and restarts one that `probe` finds unhealthy.

    Calls `report` at each step of a rolling restart.
    """

    def __init__(
        self, slots: Sequence[Slot], report: Callable[[RollingRestart], object], probe: LivenessProbe | None = None
    ) -> None:
        self._slots = slots
        self._report = report
        self._probe = probe or LivenessProbe()
        self._restart = RollingRestart()
        self._ending = asyncio.Event()
        self._interrupts = 0
        self._gave_up = False
        self._restarting: asyncio.Task[None] | None = None
        self._has_terminal = sys.stderr.isatty()

    async def run(self) -> int:
        """Supervises until SIGTERM or SIGINT, and restarts the workers in turn at SIGHUP; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._interrupted)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        self._report(self._restart)
        log.info("supervising", workers=len(self._slots), pid=os.getpid())
        keeping = [asyncio.create_task(self._keep(slot)) for slot in self._slots]
        ending = asyncio.create_task(self._ending.wait())
        done, _ = await asyncio.wait({ending, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task  # a defect here ends all workers, which die with their supervisor
        clean = await self._stop(keeping)
        if self._gave_up:
            return REFUSED
        return 128 + signal.SIGINT if self._interrupts > 1 else int(not clean)

    async def _keep(self, slot: Slot) -> None:
        while not self._ending.is_set():
            began_s = time.monotonic()
            process = await slot.begin()
            if self._ending.is_set():
                slot.send(signal.SIGTERM)
            status, why = await self._watch(slot, process)
            if self._ending.is_set():
                return
            if slot.successor is not None:
                continue
            pause_s = slot.pause_after(status, time.monotonic() - began_s)
            if slot.refusals >= REFUSALS:
                self._give_up(slot)
                return
            log.warning("worker_ended", slot=slot.number, status=status, why=why, again_in_s=pause_s)
            await event_within(self._ending, pause_s)

    async def _watch(self, slot: Slot, process: asyncio.subprocess.Process) -> tuple[int, str]:
        """Waits until the worker ends, and ends it if it is unhealthy; returns its exit status and why it ended."""
        ended, probing = asyncio.create_task(process.wait()), asyncio.create_task(self._probe.unhealthy(slot.port))
        await asyncio.wait({ended, probing}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            probing.cancel()
            return ended.result(), why_ended(ended.result())
        reason = probing.result()
        log.error("worker_unhealthy", slot=slot.number, pid=process.pid, why=reason)
        await slot.end()
        return await ended, f"the supervisor ended it, because it was unhealthy: {reason}"

    def _give_up(self, slot: Slot) -> None:
        why = f"it refused to start {REFUSALS} times in a row; fix what its log says"
        log.critical("gave_up", slot=slot.number, why=why)
        self._gave_up = True
        self._ending.set()

    # Stopping.

    def _interrupted(self) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            log.warning("killing", why="a second interrupt")
            self._send_all(signal.SIGKILL)
        self._ending.set()

    async def _stop(self, keeping: Sequence[asyncio.Task[None]]) -> bool:
        """Stops all workers; returns whether each ended by itself with status 0."""
        began_s = time.monotonic()
        running = [slot for slot in self._slots if slot.running is not None]
        log.info("stopping", workers=len(running))
        if self._restarting is not None:
            self._restarting.cancel()
        self._send_all(signal.SIGTERM)
        _, late = await asyncio.wait(keeping, timeout=STOP_S)
        if late:
            log.warning("killing", why=f"{len(late)} workers did not stop within {STOP_S:g} s")
            self._send_all(signal.SIGKILL)
        await asyncio.gather(*keeping, *(slot.drop_successor() for slot in self._slots))
        statuses = {slot.number: slot.process.returncode for slot in running if slot.process is not None}
        log.info("stopped", statuses=statuses, took_s=round(time.monotonic() - began_s, 1))
        before_work = {-signal.SIGTERM, 128 + signal.SIGTERM}  # the signal came before the worker began to work
        return all(status == 0 or status in before_work for status in statuses.values())

    def _send_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            slot.send(number)

    # Restarting in turn.

    def _hung_up(self) -> None:
        if self._has_terminal and not sys.stderr.isatty():  # the terminal was closed; nobody asks for a restart
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stderr.fileno())
            self._interrupted()
        elif self._restart.state == "running":
            log.warning("already_restarting", slot=self._restart.slot)
        else:
            self._restarting = asyncio.create_task(self._restart_in_turn())
            self._restarting.add_done_callback(self._restart_ended)

    async def _restart_in_turn(self) -> None:
        self._advance(RollingRestart(self._restart.number + 1, "running"))
        for slot in self._slots:
            self._advance(replace(self._restart, slot=slot.number))
            reason = await self._replace(slot)
            if reason is not None:
                log.error("restart_failed", slot=slot.number, why=reason)
                self._advance(replace(self._restart, state="failed", reason=reason))
                return
        log.info("restarted", workers=len(self._slots))
        self._advance(replace(self._restart, state="done", slot=None))

    @staticmethod
    async def _replace(slot: Slot) -> str | None:
        """Replaces the worker by a new one; returns the reason of a failure, or None."""
        if not await slot.load_successor():
            return f"the new worker {slot.number} did not start; the old one and the workers after it still run"
        await slot.end()
        if not await slot.becomes_ready():
            return f"worker {slot.number} was not ready within {READY_S:g} s; the workers after it were not restarted"
        return None

    def _restart_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("restart_failed", slot=self._restart.slot, why="a defect", exc_info=error)
            self._advance(replace(self._restart, state="failed", reason=f"a defect: {error!r}"))

    def _advance(self, restart: RollingRestart) -> None:
        self._restart = restart
        self._report(restart)
