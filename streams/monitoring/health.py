"""Whether a worker lives and whether it is ready, with the reason where it is not."""

import time
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum

from streams.runtime.observer import Observer

STUCK_S = 120.0
"""How long no checkpoint may come to an end. A broker that is away for a minute costs nothing but time, and restarting
the worker would only add a recovery to it; after two, a restart is what is left to try."""


class Phase(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    RECOVERING = "recovering"
    READY = "ready"
    REBALANCING = "rebalancing"
    STOPPING = "stopping"


WHY_NOT = {
    Phase.STARTING: "not yet a member of the group",
    Phase.RECOVERING: "reads the state of its partitions",
    Phase.REBALANCING: "its partitions went away; others are being assigned",
    Phase.STOPPING: "stops",
}


class Health(Observer):
    """The worker's phase. `since_checkpoint_s` tells how long ago a checkpoint ended; `needs`, what a worker that has
    its state may still be waiting for, and who brings it."""

    def __init__(self, since_checkpoint_s: Callable[[], float], needs: str) -> None:
        self._since_checkpoint_s = since_checkpoint_s
        self._needs = needs
        self.phase = Phase.STARTING
        self.reason: str | None = WHY_NOT[Phase.STARTING]
        self.partitions: tuple[int, ...] = ()
        self._began_s = time.monotonic()

    @property
    def up_s(self) -> float:
        """How long the worker has been up."""
        return time.monotonic() - self._began_s

    def why_unhealthy(self) -> str | None:
        """What is wrong beyond waiting; None where nothing is."""
        quiet_s = self._since_checkpoint_s()
        return f"no checkpoint has come to its end for {quiet_s:.0f} s" if quiet_s > STUCK_S else None

    def assigned(self, partitions: Collection[int]) -> None:
        """Recovers."""
        self.partitions = tuple(partitions)
        self._go(Phase.RECOVERING)

    def waits(self, versions: Mapping[str, int]) -> None:
        """Recovered but for what it needs."""
        wanted = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
        self.reason = f"waits for {wanted or 'a first version'}: {self._needs}"

    def recovered(self, partitions: Collection[int], took_s: float) -> None:
        """Ready, unless it stops meanwhile."""
        del partitions, took_s
        self._go(Phase.READY)

    def dropped(self) -> None:
        """Without partitions."""
        self.partitions = ()
        self._go(Phase.REBALANCING)

    def stops(self) -> None:
        """Stopping, whatever comes after."""
        self._go(Phase.STOPPING)

    def _go(self, phase: Phase) -> None:
        if self.phase is not Phase.STOPPING:
            self.phase, self.reason = phase, WHY_NOT.get(phase)
