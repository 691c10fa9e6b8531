"""Ends the process at a signal or an error, within a bound, whatever its threads and tasks wait for."""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import structlog

from infra.service.faults import describe, is_fenced
from infra.service.health import WorkerIdentity
from infra.service.logs import configure_logging
from infra.service.tasks import StillRunning
from infra.service.watchdog import name_of, where
from schemas.errors import UserError

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
CRASHED = 1
OVERDUE = 70
"""EX_SOFTWARE of sysexits.h, as for a stream worker: the process had to end itself."""


def log_end(log: Any, error: Exception) -> int:
    """Log the error that ends a process. Returns its exit status."""
    if is_fenced(error):
        log.error("fenced", error=describe(error))
    else:
        log.critical("crashed", exc_info=error)
    return OVERDUE if isinstance(error, StillRunning) and error.__cause__ is None else CRASHED


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


def run_until_signalled(
    run: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    name: str,
    deadline: Deadline,
    identity: WorkerIdentity | None = None,
    *,
    refusals: tuple[type[UserError], ...] = (UserError,),
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Runs a process until SIGTERM, SIGINT or an error, and ends it, with the error in the log `name`. Never returns.

    `run` ends soon after its event is set. Raises only those errors of `run` that are `refusals`, for a person.
    """
    block_signals()
    configure_logging(**({} if identity is None else {"slot": identity.slot}))

    async def to_the_end() -> None:
        """Ends the process from within the loop, because a runner waits at its end without a bound."""
        stop = asyncio.Event()
        stop_when_signalled(stop, deadline)
        try:
            await run(stop)
        except refusals:
            raise
        except Exception as error:  # noqa: BLE001  # it is logged, and ends the process
            leave(log_end(structlog.get_logger(name), error))
        leave(0)

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(to_the_end())
    finally:
        deadline.arm()  # a refusal goes on to the command line, and that must end in time too


def leave(status: int) -> NoReturn:
    """Ends the process at once: Python would wait for threads, and librdkafka for brokers."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
