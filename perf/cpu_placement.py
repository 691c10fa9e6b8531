"""Which cores what is measured runs on: the broker on one and the worker on another, alike for all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Cores = frozenset[int] | None
"""None: all of them."""


@dataclass(frozen=True, slots=True)
class CpuPlacement:
    """Where the broker, with who watches and feeds, and where the worker runs."""

    broker: Cores = None
    worker: Cores = None

    @classmethod
    def pinned(cls) -> "CpuPlacement":
        """The first core for the broker and the second for the worker; unpinned where there is only one."""
        cores = sorted(os.sched_getaffinity(0))
        return cls() if len(cores) < 2 else cls(frozenset(cores[:1]), frozenset(cores[1:2]))

    def __str__(self) -> str:
        if self.broker is None or self.worker is None:
            return "unpinned"
        return f"broker on core {min(self.broker)}, worker on core {min(self.worker)}"


@contextmanager
def on(cores: Cores) -> Iterator[None]:
    """What the block starts runs on these cores, for a process has the affinity of the thread that starts it."""
    before = os.sched_getaffinity(0)
    if cores is not None:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
