"""Whether a stream worker lives and whether it is ready, as its life cycle shows."""

from collections.abc import Callable, Collection, Mapping

from infra.service.health import Health, Phase, State
from streams.runtime.observer import Observer

STUCK_S = 120.0
"""How long no checkpoint may end. A broker that is away for a minute costs only time, and a restart would add a
recovery to it. After two minutes only a restart is left to try."""

REASONS = {
    Phase.STARTING: "not yet a member of its consumer group",
    Phase.RECOVERING: "reads the state of its partitions",
    Phase.REBALANCING: "its partitions were revoked; the group assigns others",
    Phase.STOPPING: "stops",
}


class StreamHealth(Health, Observer):
    """The health of one worker.

    `since_checkpoint_s` returns how long ago a checkpoint ended. `needs` names what a worker that has its state may
    still wait for, and which command publishes it.
    """

    def __init__(self, slot: int, restarts: int, since_checkpoint_s: Callable[[], float], needs: str) -> None:
        super().__init__(slot, restarts)
        self._since_checkpoint_s = since_checkpoint_s
        self._needs = needs
        self._state = State(Phase.STARTING, REASONS[Phase.STARTING])
        self._partitions: tuple[int, ...] = ()

    def state(self) -> State:
        """The phase that the last event of the life cycle began."""
        return self._state

    def held_partitions(self) -> Collection[int]:
        """The partitions that the group assigned."""
        return self._partitions

    def why_unhealthy(self) -> str | None:
        """Whether checkpoints end."""
        quiet_s = self._since_checkpoint_s()
        return f"no checkpoint has ended for {quiet_s:.0f} s" if quiet_s > STUCK_S else None

    def assigned(self, partitions: Collection[int]) -> None:
        """Recovery begins."""
        self._partitions = tuple(partitions)
        self._enter(Phase.RECOVERING)

    def waits(self, versions: Mapping[str, int]) -> None:
        """The state is loaded; what the worker needs is missing."""
        wanted = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
        self._state = State(self._state.phase, f"waits for {wanted or 'a first version'}: {self._needs}")

    def recovered(self, partitions: Collection[int], took_s: float) -> None:
        """The worker is ready, unless it stops meanwhile."""
        del partitions, took_s
        self._enter(Phase.READY)

    def dropped(self) -> None:
        """The worker has no partitions."""
        self._partitions = ()
        self._enter(Phase.REBALANCING)

    def stops(self) -> None:
        """The worker stops; no later event changes that."""
        self._enter(Phase.STOPPING)

    def _enter(self, phase: Phase) -> None:
        if self._state.phase is not Phase.STOPPING:
            self._state = State(phase, REASONS.get(phase))
