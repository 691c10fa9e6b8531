"""CPU time of processes by kind of thread: the main one, librdkafka's, a JVM's compiler and collector, the others."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TICKS_S = os.sysconf("SC_CLK_TCK")
MAIN, OTHERS = "main thread", "other threads"
_PREFIXES = {
    "rdk:": "librdkafka",
    "C1 Comp": "JIT compiler",
    "C2 Comp": "JIT compiler",
    "G1 ": "garbage collector",
    "GC Thread": "garbage collector",
    "VM Thread": "garbage collector",
}
"""By the beginning of a thread's name, as its library or JVM gives it. `VM Thread` does the pauses of G1."""


def kind_of(name: str, *, main: bool) -> str:
    """The kind of a thread by its name and whether it is its process's first."""
    if main:
        return MAIN
    return next((kind for prefix, kind in _PREFIXES.items() if name.startswith(prefix)), OTHERS)


def cpu_s_by_kind(pids: Iterable[int]) -> dict[str, float]:
    """CPU seconds of the processes' threads, user and system. Threads that have ended are missing."""
    found: dict[str, float] = {}
    for pid in pids:
        for task in _tasks(pid):
            before, _, after = task.rpartition(")")
            number, _, name = before.partition(" (")
            fields = after.split()
            kind = kind_of(name, main=int(number) == pid)
            found[kind] = found.get(kind, 0.0) + (int(fields[11]) + int(fields[12])) / TICKS_S
    return found


def _tasks(pid: int) -> list[str]:
    """The `stat` of each thread; of one that ends meanwhile, none."""
    try:
        numbers = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - as for processes, without objects
    except (FileNotFoundError, ProcessLookupError):
        return []
    found = []
    for number in numbers:
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append(Path(f"/proc/{pid}/task/{number}/stat").read_text())
    return found
