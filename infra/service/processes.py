"""Keeps a detached server process: starts it, records it so that a later command finds it, ends it.

A process is recorded by pid, start time and boot, so that another process with the same pid is never mistaken for it. A
zombie counts as ended: if PID 1 reaps late, a killed server stays one for a while.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
POLL_S = 0.05
UNKNOWN_PORT = 0
NEVER = -1  # the start time of a process that ended before it could be read


@dataclass(frozen=True, slots=True)
class Process:
    """One process of one boot of this machine, and the port that it serves."""

    pid: int
    started_ticks: int
    boot: str
    port: int

    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return boot_id() == self.boot and start_ticks(self.pid) == self.started_ticks

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process; does nothing if it has ended."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def started_at(self) -> float:
        """When it started, in seconds since the epoch, to about a second."""
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - uptime_s + self.started_ticks / os.sysconf("SC_CLK_TCK")


def boot_id() -> str:
    """The kernel's name for this boot: process start times count from it."""
    return BOOT_ID.read_text().strip()


def start_ticks(pid: int, proc: Path = Path("/proc")) -> int | None:
    """The process's start time in clock ticks since boot; None once it has ended.

    A zombie has ended, unless other threads of it are still on their way out: those may hold ports and files.
    """
    living = _read_stat(pid, proc)
    return None if living is None else living.started_ticks


class _Stat(NamedTuple):
    """What proc(5) calls fields 4, 6 and 22 of a process's stat."""

    parent: int
    session: int
    started_ticks: int


def _read_stat(pid: int, proc: Path) -> _Stat | None:
    try:
        stat = (proc / str(pid) / "stat").read_text()
        threads = sum(1 for _ in (proc / str(pid) / "task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the command name before it may hold spaces and brackets
    if fields[0] in "ZX" and threads <= 1:
        return None
    return _Stat(int(fields[1]), int(fields[3]), int(fields[19]))


def spawn(command: Sequence[str | Path], log: Path, port: int, environment: Mapping[str, str] | None = None) -> Process:
    """Start a process that outlives us: in its own session, at `/`, with its output in `log`.

    The log of the start before becomes `<log>.1`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    # Not subprocess.Popen: its object would go on watching a child that must outlive us.
    pid = os.posix_spawn(
        "/usr/bin/env",
        ["env", "--chdir=/", *map(str, command)],
        os.environ if environment is None else environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return Process(pid, start_ticks(pid) or NEVER, boot_id(), port)


def remember(process: Process, record: Path) -> None:
    """Write the record, whole or not at all."""
    record.parent.mkdir(parents=True, exist_ok=True)
    new = record.with_name(f"{record.name}.new")
    new.write_text(json.dumps(asdict(process)))
    new.replace(record)


def recall(record: Path) -> Process | None:
    """The recorded process while it runs. Removes a record that cannot be read, or whose process ended."""
    try:
        process = Process(**json.loads(record.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        process = None
    if process is not None and process.alive():
        return process
    record.unlink(missing_ok=True)
    return None


def find(arguments: Collection[Path], proc: Path = Path("/proc")) -> Process | None:
    """The server process that has all of `arguments` on its command line, in case its record was lost.

    Only leaders of a session count, as `spawn` makes them: not a person's editor on the same file. Nor does a child of
    such a leader: one of PostgreSQL's leads a session at once, and shows its parent's command line until it has set its
    own title. The port is not known then.
    """
    wanted = {os.fsencode(argument) for argument in arguments}
    leaders = {}
    for place in proc.iterdir():
        if place.name.isdecimal() and wanted.issubset(_read(place / "cmdline").split(b"\0")):
            pid = int(place.name)
            stat = _read_stat(pid, proc)
            if stat is not None and stat.session == pid:
                leaders[pid] = stat
    for pid, stat in leaders.items():
        if stat.parent not in leaders:
            return Process(pid, stat.started_ticks, boot_id(), UNKNOWN_PORT)
    return None


def working_in(directory: Path, programs: Path, proc: Path = Path("/proc")) -> list[int]:
    """The processes that run a file below `programs` with `directory` as their working directory."""
    found = []
    for place in proc.iterdir():
        if place.name.isdecimal():
            try:
                cwd, program = (place / "cwd").readlink(), (place / "exe").readlink()
            except OSError:  # a kernel thread, another user's process, or one that has just ended
                continue
            if cwd == directory and program.is_relative_to(programs):
                found.append(int(place.name))
    return found


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has just ended
        return b""


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until the condition holds; False if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def end(process: Process, first: signal.Signals, patience_s: float) -> None:
    """Signal the process to end with `first`, and kill it after `patience_s`. Returns once it is gone."""
    process.signal(first)
    if not wait_until(lambda: not process.alive(), patience_s):
        process.signal(signal.SIGKILL)
        wait_until(lambda: not process.alive(), 10.0)
