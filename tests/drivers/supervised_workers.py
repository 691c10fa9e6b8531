"""Workers under their supervisor as the tests run them: the command itself, its log, and the workers' pages."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from drivers.command_line import Done, ebbtide
from drivers.limits import HANGS_AFTER_S
from drivers.pages import get
from drivers.running_senders import wait_until

from infra.service.processes import start_ticks


class SupervisedWorkers:
    """`ebbtide run KIND`, with `variables` beside those of the environment. Worker K has its pages on `port` + K."""

    def __init__(self, kind: str, port: int, log: Path, variables: Mapping[str, str]) -> None:
        self.port = port
        self.log = log
        self._kind = kind
        self._process: subprocess.Popen[bytes] | None = None
        self._variables = {**os.environ, "COLUMNS": "200", "TERM": "dumb", **variables}

    # the command

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`ebbtide run KIND ARGUMENTS`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "run", self._kind, *arguments],
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._process

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Ends it; its exit status, and the seconds that took."""
        process, self._process = self._process, None
        assert process is not None
        began_s = time.monotonic()
        process.send_signal(how)
        return process.wait(HANGS_AFTER_S), time.monotonic() - began_s

    def close(self) -> None:
        """Ends what still runs."""
        if self._process is not None:
            self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        assert all(line["event"] for line in self.lines()), "every line is JSON and names its event"

    def two_ready(self) -> dict[int, int]:
        """The process ids by slot of two workers that are ready, started if they do not run."""
        if not self.runs:
            self.start("--workers", "2")
        return self.wait_ready(0, 1)

    def cli(self, *arguments: str, **variables: str) -> Done:
        """Another command on the same instance, in this process."""
        return ebbtide(*arguments, **self._variables | variables)

    def program(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The same as a program of its own, which may also be run in a thread, and may run workers."""
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env=self._variables | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    # what it says

    def get(self, slot: int, page: str) -> tuple[int, str] | None:
        """The answer of a worker's page; None if there is none."""
        return get(self.port + slot, page)

    def ready(self, slot: int) -> dict[str, Any] | None:
        """What /ready says; None if the worker does not answer."""
        answer = self.get(slot, "/ready")
        return None if answer is None else json.loads(answer[1]) | {"status": answer[0]}

    def wait_ready(self, *slots: int) -> dict[int, int]:
        """Waits until these workers are ready; their process ids by slot."""

        def pids() -> dict[int, int]:
            found = {slot: self.ready(slot) or {} for slot in slots}
            all_ready = all(page.get("status") == 200 for page in found.values())
            return {slot: page["pid"] for slot, page in found.items()} if all_ready else {}

        return wait_until(pids, f"workers {slots} are ready; the log ends with:\n{self.tail()}")

    def lines(self) -> list[dict[str, Any]]:
        """Every whole line of the log; fails if one is no JSON."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def tail(self) -> str:
        """How the log ends."""
        return "\n".join(self.log.read_text().splitlines()[-15:]) if self.log.exists() else ""


def is_gone(pid: int) -> bool:
    """Whether the process has ended."""
    return start_ticks(pid) is None
