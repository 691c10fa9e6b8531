"""Ends the process at a signal or an error, within a bound, whatever its threads and tasks wait for."""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time
from typing import NoReturn

import structlog

from infra.service.watchdog import name_of, where

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
CRASHED = 1
OVERDUE = 70
"""EX_SOFTWARE of sysexits.h, as for a stream worker: the process had to end itself."""


class Deadline:
    """Ends the process with status OVERDUE if it has not ended `within_s` after `arm`.

    A thread of our own logs where every thread stands. If some C code never releases the interpreter, that thread
    cannot run; then faulthandler's, which needs no interpreter, ends the process a second later.
    """

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self._once = threading.Lock()

    def arm(self) -> None:
        """Starts the time. Only the first call counts; in any thread."""
        if self._once.acquire(blocking=False):
            faulthandler.dump_traceback_later(self.within_s + 1, exit=True)
            threading.Thread(target=self._wait, name="deadline", daemon=True).start()

    def _wait(self) -> None:
        time.sleep(self.within_s)
        log = structlog.get_logger("infra.service.ending")
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                log.critical("stop_overdue", part=name_of(thread), where=where(thread))
        log.critical("end_forced", after_s=self.within_s, status=OVERDUE)
        leave(OVERDUE)


def block_signals() -> None:
    """Keeps SIGTERM and SIGINT for `stop_when_signalled`. Call it before any other thread starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def stop_when_signalled(stop: asyncio.Event, deadline: Deadline) -> None:
    """Sets `stop` of the running loop at the first signal, and arms the deadline.

    A thread waits for the signal: a handler in the loop's thread would not run if that thread is stuck.
    """
    loop = asyncio.get_running_loop()

    def wait() -> None:
        signal.sigwait(SIGNALS)
        deadline.arm()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="signals", daemon=True).start()


def leave(status: int) -> NoReturn:
    """Ends the process at once: Python would wait for threads, and librdkafka for brokers."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
