"""Which process listens on a local TCP port, from /proc: for the message that a server cannot start."""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from infra.local.ports import VARIABLE
from infra.local.problems import SetupProblem

LISTEN = "0A"
POLL_S = 0.05
LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could bind 127.0.0.1:port now. Connections in TIME_WAIT do not matter."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def answers(port: int, timeout_s: float = 1.0) -> bool:
    """Whether something accepts connections on 127.0.0.1:port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def require_free(port: int, purpose: str, wait_s: float = 5.0) -> None:
    """Raises `SetupProblem` with the port, its process and the remedy if the port is not free.

    A killed process keeps its ports until the kernel has removed it, but /proc no longer shows its files: if no process
    seems to have the port, this waits up to `wait_s` for it.
    """
    deadline = time.monotonic() + wait_s
    while not is_free(port):
        name = holder(port)
        if name is not None or time.monotonic() > deadline:
            raise SetupProblem(
                f"port {port} for {purpose} is in use by {name or 'a process of another user'}: "
                f"stop that, or move all ports with {VARIABLE}={next_base(port)}"
            )
        time.sleep(POLL_S)


def next_base(port: int) -> int:
    """Suggests a port base: the next thousand after `port`."""
    base = (port // 1000 + 1) * 1000
    return base if base <= 31_000 else 11_000


def holder(port: int, proc: Path = Path("/proc")) -> str | None:
    """`name (pid N)` of the process that listens on the port; None if /proc does not show it."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port, proc)}
    for process in proc.iterdir() if wanted else ():
        if process.name.isdecimal() and wanted.intersection(_open_files(process)):
            return f"{_name(process)} (pid {process.name})"
    return None


def _listening_inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6 has no tcp6
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _open_files(process: Path) -> Iterator[str]:
    try:
        entries = list((process / "fd").iterdir())
    except OSError:  # another user's process, or one that just ended
        return
    for entry in entries:
        with suppress(OSError):  # this descriptor was just closed; the others still count
            yield str(entry.readlink())


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process that just ended"
