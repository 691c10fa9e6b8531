"""Measured processes, and what is observed from outside: their group's commits, CPU time and memory."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
from confluent_kafka import Consumer, TopicPartition

from infra.kafka.client import client_config
from infra.kafka.retry import retry
from perf.broker import Ends, Report
from perf.commit_progress import CommitProgress, MeasuredWindow
from perf.cpu_placement import Cores, on
from perf.inside import MARK, peak_mib
from perf.threads import TICKS_S, cpu_s_by_kind

CHECK_INTERVAL_S = 0.02
REPORT_INTERVAL_S = 5.0
STOP_S = 15.0
NO_COMMIT_S = 60.0
"""A measurement fails after this long without a commit."""


PYTHON_MODULE = (sys.executable, "-m")
"""Runs the module that the first argument names."""


class MeasurementFailed(RuntimeError):
    """A contender did not do its work."""


class MeasuredProcess:
    """One measured process, in its own session. Leaving the `with` block ends it."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        cores: Cores,
        folder: Path,
        variables: Mapping[str, str] | None = None,
        *,
        program: Sequence[str] = PYTHON_MODULE,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log, on(cores):
            self._process = subprocess.Popen(
                [*program, *arguments],
                env={**os.environ, **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the benchmark, which ends its processes
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Sends SIGTERM, then SIGKILL if that does not end it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def check(self) -> None:
        """Raises MeasurementFailed if the process has failed."""
        if self._process.poll() not in (None, 0):
            text = self.last_line()[:200]
            raise MeasurementFailed(f"{self.name} ended with {self._process.returncode}: {text} (see {self.log})")

    def answer(self, within_s: float) -> dict[str, Any]:
        """What the process reports by `perf.inside` after its work."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            _, mark, text = self.log.read_text(errors="replace").partition(MARK)
            if mark and text.endswith("\n"):
                found: dict[str, Any] = orjson.loads(text.splitlines()[0])
                return found
            self.check()
            time.sleep(0.1)
        raise MeasurementFailed(f"{self.name} did not end within {within_s:g} s; see {self.log}")

    def last_line(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(nothing)"

    def says(self, what: str) -> bool:
        """Whether `what` is in its log."""
        return what in self.log.read_text(errors="replace")

    def pids(self) -> list[int]:
        """The process and its children."""
        leader = self._process.pid
        return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _session(pid) == leader]  # noqa: PTH208 - thousands of Path objects


def _pids(children: Sequence[MeasuredProcess]) -> list[int]:
    return [pid for child in children for pid in child.pids()]


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if fields else -1


def cpu_s(pids: Sequence[int]) -> float:
    """CPU time of the processes, user and system, all threads."""
    return sum(int(f[11]) + int(f[12]) for f in map(_stat, pids) if f) / TICKS_S


class CommitWatch:
    """Asks the broker every 20 ms how far a group has committed a topic."""

    def __init__(self, kafka: str, group: str, topic: str, ends: Ends) -> None:
        self._ends = ends
        self._places = [TopicPartition(topic, partition) for partition in ends]
        self._topic = topic
        self.total = sum(ends.values())
        settings: dict[str, str | int | float | bool] = {
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",
        }
        self._consumer = Consumer(client_config(kafka, **settings))
        self._before = self.committed()
        self._seen: list[CommitProgress] = []
        """From the start of the clock; an item for each progress."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def committed(self) -> int:
        """The number of the topic's records that the group has committed."""
        answers = retry(lambda: self._consumer.committed(self._places, 5.0), 30.0)
        return sum(max(0, min(answer.offset, self._ends[answer.partition])) for answer in answers)

    def begin(self, children: Sequence[MeasuredProcess]) -> None:
        """Starts the clock now, for processes that are idle until there are events."""
        self._note(self.committed(), children)

    def _note(self, done: int, children: Sequence[MeasuredProcess]) -> None:
        pids = _pids(children)
        ends = not self._seen or done == self.total
        self._seen.append(CommitProgress(time.monotonic(), done, cpu_s(pids), cpu_s_by_kind(pids) if ends else {}))

    def until_done(
        self, children: Sequence[MeasuredProcess], report: Report, *, late_last_commit: bool = False
    ) -> MeasuredWindow:
        """Waits until all is committed. Raises MeasurementFailed if a process fails or commits nothing for a minute."""
        done, moved_s, reported_s = -1, time.monotonic(), time.monotonic()
        while True:
            now_done, now_s = self.committed(), time.monotonic()
            if now_done > max(done, self._before) or now_done == self.total:
                self._note(now_done, children)
            if now_done == self.total:
                peak = sum(map(peak_mib, _pids(children)))
                records = self.total - self._before
                return MeasuredWindow.of(self._seen, records, peak, late_last_commit=late_last_commit)
            if now_done > done:
                done, moved_s = now_done, now_s
            elif now_s - moved_s > NO_COMMIT_S:
                names = ", ".join(str(child.log) for child in children)
                raise MeasurementFailed(f"{self._topic}: {done:,} of {self.total:,} records are committed; see {names}")
            if now_s - reported_s > REPORT_INTERVAL_S:
                reported_s = now_s
                report(f"{done:,} of {self.total:,}")
            for child in children:
                child.check()
            time.sleep(CHECK_INTERVAL_S)
