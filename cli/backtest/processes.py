"""The processes of a backtest. They die with this one, and end at once when the block is left."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from signal import SIG_IGN, SIGINT, SIGPIPE, signal
from threading import Thread
from typing import Any, Protocol, TypeVar

from cli.backtest.job import BacktestJob
from cli.backtest.worker import BacktestWorker
from infra.service.garbage import search_rarely
from schemas.errors import UserError

_AHEAD = 2
"""Calls for each process that are given out and not taken: one that it works on, and one that waits for it."""
R = TypeVar("R")
_worker: BacktestWorker | None = None


class ProcessDied(UserError):
    """A process of a backtest ended by itself."""


class BacktestWorkers(Protocol):
    """One or more workers, all alike."""

    def each(self, work: Callable[..., R], calls: Iterable[tuple[Any, ...]]) -> Iterator[R]:
        """What a method of `BacktestWorker` gives for each call, in the order of the calls."""
        ...


class ThisProcess:
    """A worker in this process, for a short log."""

    def __init__(self, job: BacktestJob, folder: Path, buckets: int) -> None:
        self._worker = BacktestWorker(job, folder, "0", buckets)

    def each(self, work: Callable[..., R], calls: Iterable[tuple[Any, ...]]) -> Iterator[R]:
        """The results in order."""
        return (work(self._worker, *call) for call in calls)


class WorkerProcesses:
    """BacktestWorkers in processes of their own."""

    def __init__(self, pool: ProcessPoolExecutor, number: int) -> None:
        self._pool = pool
        self._ahead = number * _AHEAD

    def each(self, work: Callable[..., R], calls: Iterable[tuple[Any, ...]]) -> Iterator[R]:
        """The results in order. No more calls are read than the processes need. Raises ProcessDied."""
        waiting: deque[Future[R]] = deque()
        for call in calls:
            waiting.append(self._pool.submit(_call, work, *call))
            if len(waiting) >= self._ahead:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())


@contextmanager
def worker_processes(job: BacktestJob, folder: Path, buckets: int, number: int) -> Iterator[WorkerProcesses]:
    """Starts processes, and ends them with the block."""
    before = set(active_children())
    pool = ProcessPoolExecutor(number, get_context("spawn"), _begin, (job, folder, buckets))
    try:
        yield WorkerProcesses(pool, number)
    except BaseException:
        for process in set(active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def closed_pipes_as_errors() -> Iterator[None]:
    """Within the block a closed pipe is an error and no signal. The signal would leave the files of the backtest, and
    comes also from writing to a process that was just ended."""
    before = signal(SIGPIPE, SIG_IGN)
    try:
        yield
    finally:
        signal(SIGPIPE, before)


def _begin(job: BacktestJob, folder: Path, buckets: int) -> None:
    """Begins a process. Ctrl-C reaches all of them, and the first one ends the others."""
    global _worker
    signal(SIGINT, SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    _worker = BacktestWorker(job, folder, str(os.getpid()), buckets)
    search_rarely()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(work: Callable[..., R], *call: Any) -> R:
    assert _worker is not None
    return work(_worker, *call)


def _result(future: Future[R]) -> R:
    try:
        return future.result()
    except BrokenProcessPool:
        raise ProcessDied(
            "a process of the backtest was ended from outside, perhaps for lack of memory; try fewer --processes"
        ) from None
