"""Tasks that run and end together, and threads that cannot keep the process from ending.

A cancellation can get lost: libraries catch it, and `asyncio.wait_for` of Python 3.11, which aiosmtplib and
psycopg use, swallows one that arrives in the wrong turn. `asyncio.TaskGroup` cancels once, and would wait for ever.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from infra.service.watchdog import where

T = TypeVar("T")

CANCEL_AGAIN_S = 1.5
"""A task needs up to a second to say goodbye to a mail server, which a second cancellation would cut short."""
END_WITHIN_S = 4.0


class StillRunning(RuntimeError):
    """Tasks or threads did not end in time; the message names them."""


async def end_tasks(tasks: Collection["asyncio.Task[Any]"], within_s: float | None = None) -> set["asyncio.Task[Any]"]:
    """Cancels tasks again and again until they have ended.

    Returns those that have not ended in time, and logs where they stand.
    """
    end = asyncio.get_running_loop().time() + (END_WITHIN_S if within_s is None else within_s)
    pending = {task for task in tasks if not task.done()}
    while pending and (left_s := end - asyncio.get_running_loop().time()) > 0:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=min(left_s, CANCEL_AGAIN_S))
    for task in pending:
        structlog.get_logger("infra.service.tasks").error("stop_overdue", part=task.get_name(), where=where(task))
    return pending


async def run_together(parts: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Runs coroutines as tasks of these names until one of them ends, then ends the others and raises its error.

    Raises StillRunning from that error where a task does not end.
    """
    tasks = {asyncio.create_task(part, name=name) for name, part in parts.items()}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        pending = await end_tasks(tasks)
    errors = [error for task in done if not task.cancelled() and (error := task.exception()) is not None]
    for task in tasks - done - pending:
        if not task.cancelled():
            task.exception()  # an error while ending; the first error says why
    if pending:
        names = ", ".join(sorted(task.get_name() for task in pending))
        raise StillRunning(f"did not end when cancelled: {names}") from (errors[0] if errors else None)
    if errors:
        raise errors[0]


class TaskSet:
    """Tasks that come and end one by one. The first error that one of them raises is the defect of all.

    Used in the event loop's thread only.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        """`on_end` is called with the end of each task."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_end = on_end
        self._defect: asyncio.Future[None] = asyncio.Future()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine as a task of this name."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def raise_defect(self) -> None:
        """Waits until a task raises an error, and raises it."""
        await self._defect

    async def end(self) -> None:
        """Cancels the tasks until they have ended."""
        await end_tasks(self._tasks)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._on_end()
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._defect.done():
            self._defect.set_exception(error)


def run_in_thread(name: str, work: Callable[[], T]) -> "asyncio.Future[T]":
    """Runs `work` in a daemon thread of this name; the future gets its result or error in the event loop.

    The interpreter does not wait for it at its end, as it does for an executor's threads.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(settle: Callable[[Any], None], value: object) -> None:
        if not future.done():
            settle(value)

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # the future raises it
            outcome: tuple[Callable[[Any], None], object] = (future.set_exception, error)
        else:
            outcome = (future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed: nobody waits for the result
            loop.call_soon_threadsafe(finish, *outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
