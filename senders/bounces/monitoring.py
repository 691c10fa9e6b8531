"""What the bounce listener shows of itself: its health and its metrics. The table in docs/metrics.md is DEFINITIONS."""

from collections.abc import Callable, Collection, Sequence

from infra.service.health import Health, Phase, State
from infra.service.metrics import MetricDefinition, ScrapeCollector, new_registry, render
from infra.service.outages import Outage

MAILS = MetricDefinition(
    "ebbtide_bounces_mails_total",
    "counter",
    ("kind", "bounce_class"),
    "Mails taken, by what they are (`bounce`, `complaint`, `auto_reply`, `none`) and the class of a bounce; `unsigned` "
    "or `unknown_command` where they belong to no mail of ours.",
)
REFUSED = MetricDefinition(
    "ebbtide_bounces_refused_total",
    "counter",
    ("reason",),
    "Mails and connections that were refused: an unsigned `recipient`, or the bounds of `rate` and `connections`.",
)
READY = MetricDefinition("ebbtide_bounces_ready", "gauge", (), "1 while the listener takes mail, otherwise 0.")
AWAY = MetricDefinition(
    "ebbtide_bounces_server_away",
    "gauge",
    ("server",),
    "1 while `kafka`, `timescale` or `ledger` (if it has its own database) does not answer, otherwise 0.",
)
DEFINITIONS = (MAILS, REFUSED, READY, AWAY)


class BounceMetrics:
    """Counts what the listener takes and refuses."""

    def __init__(self, ready: Callable[[], bool], outages: Sequence[Outage]) -> None:
        self.registry = new_registry()
        self._mails = MAILS.counter(self.registry)
        self._refused = REFUSED.counter(self.registry)
        self.registry.register(
            ScrapeCollector(
                lambda: [
                    READY.gauge([((), float(ready()))]),
                    AWAY.gauge([((outage.server,), float(outage.is_away)) for outage in outages]),
                ]
            )
        )

    def counted(self, kind: str, bounce_class: str) -> None:
        """A mail was taken."""
        self._mails.labels(kind, bounce_class).inc()

    def refused(self, reason: str) -> None:
        """A mail or a connection was refused."""
        self._refused.labels(reason).inc()

    def page(self) -> bytes:
        """The metrics page."""
        return render(self.registry)


class ListenerHealth(Health):
    """Ready while it listens. A database or broker that is away makes it wait: it asks senders to come again."""

    def __init__(self, slot: int, restarts: int, outages: Sequence[Outage]) -> None:
        super().__init__(slot, restarts)
        self._outages = outages
        self._phase = Phase.STARTING

    def enters(self, phase: Phase) -> None:
        """The listener has begun or ends."""
        self._phase = phase

    def state(self) -> State:
        """The phase as it is now."""
        away = [outage.server for outage in self._outages if outage.is_away]
        if self._phase is Phase.READY and away:
            return State(Phase.WAITING, f"waits for {', '.join(away)}")
        return State(self._phase, None if self._phase is Phase.READY else self._phase.value)

    def why_unhealthy(self) -> str | None:
        """Nothing: a loop that hangs does not answer."""
        return None

    def held_partitions(self) -> Collection[int]:
        """None: it has no partitions."""
        return ()
