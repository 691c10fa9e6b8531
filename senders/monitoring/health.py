"""Whether a delivery worker lives and whether it is ready."""

from collections.abc import Callable, Collection

from infra.service.health import Health, Phase, State
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog


class DeliveryHealth(Health):
    """The health of one worker: ready while it holds what the group assigned and its servers answer.

    `arriving` and `held` return the partitions that the worker is about to hold, and those that it holds.
    """

    def __init__(
        self,
        slot: int,
        restarts: int,
        arriving: Callable[[], Collection[int]],
        held: Callable[[], Collection[int]],
        outages: Collection[Outage],
        watchdog: Watchdog,
    ) -> None:
        super().__init__(slot, restarts)
        self._arriving = arriving
        self._held = held
        self._outages = outages
        self._watchdog = watchdog
        self._without = State(Phase.STARTING, "not yet a member of its consumer group")
        self._is_assigned = False

    def assigned(self) -> None:
        """The group has assigned partitions, or none because other workers have them all."""
        self._is_assigned = True

    def revoked(self) -> None:
        """The group has revoked every partition, to assign others. While some stay, the worker goes on with them."""
        self._is_assigned = False
        if self._without.phase is not Phase.STOPPING:
            self._without = State(Phase.REBALANCING, "its partitions were revoked; the group assigns others")

    def stops(self) -> None:
        """The worker stops; no later event changes that."""
        self._is_assigned = False
        self._without = State(Phase.STOPPING, "stops")

    def state(self) -> State:
        """The phase as it is now."""
        away = [outage.server for outage in self._outages if outage.is_away]
        if self._without.phase is Phase.STOPPING or not (self._is_assigned or away):
            return self._without
        if away:
            return State(Phase.WAITING, f"waits for {', '.join(away)}")
        if self._arriving():
            return State(Phase.RECOVERING, "takes over its partitions")
        return State(Phase.READY, None)

    def why_unhealthy(self) -> str | None:
        """The names of the stalled tasks and threads; None if there are none."""
        stalled = self._watchdog.stalled()
        return f"stalled: {', '.join(stalled)}" if stalled else None

    def held_partitions(self) -> Collection[int]:
        """The partitions whose commands this worker sends."""
        return self._held()
