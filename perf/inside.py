"""Self-measurement of our contender programs, which they print as their last line before they wait to be ended."""

import os
import signal
import sys
import time
from pathlib import Path

import orjson
from confluent_kafka import Consumer

from infra.kafka.client import client_config

MARK = "measured inside: "


class Meter:
    """Wall and CPU time of this process, from the first event that it takes."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def begin(self) -> None:
        """Starts the clock at the first event. Further calls change nothing."""
        if self._began is None:
            self._began = time.perf_counter(), time.process_time()

    def end(self, events: int) -> None:
        """Stops the clock after the last event, and prints the results."""
        assert self._began is not None
        answer = {
            "events": events,
            "seconds": time.perf_counter() - self._began[0],
            "cpu_s": time.process_time() - self._began[1],
            "peak_mib": peak_mib(os.getpid()),
        }
        sys.stdout.write(f"{MARK}{orjson.dumps(answer).decode()}\n")
        sys.stdout.flush()


def peak_mib(pid: int) -> float:
    """The peak resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def reader(kafka: str, group: str) -> Consumer:
    """The consumer of the hand-written programs."""
    settings: dict[str, str | int | float | bool] = {
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "queued.min.messages": 200_000,
        "fetch.queue.backoff.ms": 10,
    }
    return Consumer(client_config(kafka, **settings))


def wait_to_be_ended() -> None:
    """Waits for a signal, because the watcher still reads this process's CPU time."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pause()
