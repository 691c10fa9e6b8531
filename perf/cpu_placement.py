"""CPU cores for measurements: the broker on one core and the worker on another, the same for all contenders."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Cores = frozenset[int] | None
"""None means all cores."""


@dataclass(frozen=True, slots=True)
class CpuPlacement:
    """The cores of the broker, with watchers and feeders, and those of the worker."""

    broker: Cores = None
    worker: Cores = None

    @classmethod
    def pinned(cls) -> "CpuPlacement":
        """The first core for the broker and the second for the worker; unpinned if there is only one core."""
        cores = sorted(os.sched_getaffinity(0))
        return cls() if len(cores) < 2 else cls(frozenset(cores[:1]), frozenset(cores[1:2]))

    def __str__(self) -> str:
        if self.broker is None or self.worker is None:
            return "unpinned"
        return f"broker on core {min(self.broker)}, worker on core {min(self.worker)}"


@contextmanager
def on(cores: Cores) -> Iterator[None]:
    """Processes that the block starts run on these cores, because a process inherits the affinity of its parent
    thread."""
    before = os.sched_getaffinity(0)
    if cores is not None:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
