"""Whether a process lives and whether it is ready, with the reason if it is not."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Phase(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    RECOVERING = "recovering"
    WAITING = "waiting"
    READY = "ready"
    REBALANCING = "rebalancing"
    STOPPING = "stopping"


class State(NamedTuple):
    """A phase, with the reason if it is not READY."""

    phase: Phase
    reason: str | None


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Which worker a process is: its slot, how often its supervisor restarted it, and the port of its pages."""

    slot: int
    restarts: int
    port: int


class Health(ABC):
    """What one process reports of itself. `slot` is its number under a supervisor; `restarts`, how often that
    restarted it."""

    def __init__(self, slot: int = 0, restarts: int = 0) -> None:
        self.slot = slot
        self.restarts = restarts
        self._started_s = time.monotonic()

    @abstractmethod
    def state(self) -> State:
        """The phase, with the reason if it is not READY."""

    @abstractmethod
    def why_unhealthy(self) -> str | None:
        """What only a restart can fix; None if nothing is wrong."""

    @abstractmethod
    def held_partitions(self) -> Collection[int]:
        """The partitions that this process works on."""

    @property
    def ready(self) -> bool:
        """Whether the process does its work."""
        return self.state().phase is Phase.READY

    def identity(self) -> dict[str, Any]:
        """Which process this is, in which phase."""
        return {"slot": self.slot, "pid": os.getpid(), "state": self.state().phase}

    def description(self) -> dict[str, Any]:
        """The identity, the reason of the phase, version, age and memory."""
        uptime_s = time.monotonic() - self._started_s
        return {
            **self.identity(),
            "reason": self.why_unhealthy() or self.state().reason,
            "version": version("ebbtide"),
            "restarts": self.restarts,
            "started": (datetime.now(UTC) - timedelta(seconds=uptime_s)).isoformat(timespec="seconds"),
            "uptime_s": round(uptime_s, 1),
            "memory_bytes": resident_bytes(),
        }


def resident_bytes() -> int:
    """The memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
