"""Function calls handed to another thread, each with a future for its result."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

T = TypeVar("T")


class CallQueue:
    """Calls for one thread, which runs them with `run_all`. `changed` is notified of each new call."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._calls: deque[Callable[[], None]] = deque()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, function: Callable[[], T]) -> "Future[T]":
        """Has the thread call `function`. The future fails with _DESTROY if the queue is closed first."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                if self._closed:
                    raise KafkaException(KafkaError(KafkaError._DESTROY, "the consume thread has ended"))
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - the caller gets it from the future
                future.set_exception(error)

        with self._changed:
            if not self._closed:
                self._calls.append(run)
                self._changed.notify()
                return future
        run()
        return future

    def run_all(self) -> None:
        """Runs the calls that were added. For the thread that they belong to."""
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        """Makes all calls that were not run fail, so that no caller waits for them."""
        with self._changed:
            self._closed = True
        self.run_all()
