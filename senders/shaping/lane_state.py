"""One lane: a source at a site. Its queue, its connections, and what it has been through. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from senders.shaping.actions import ActionBook, ActiveAction
from senders.shaping.document import ActionScope
from senders.shaping.gcra import SECOND_US
from senders.shaping.keys import ProviderKeys
from senders.shaping.lane_limits import NamedRate, connection_rate, keys_now, rates_of_lane
from senders.shaping.lane_queue import LaneQueue
from senders.shaping.resolution import EffectiveValue, Egress, lane_name
from senders.shaping.ways import ActionTarget, targets_of

FIRST_PAUSE_US = SECOND_US // 4
LONGEST_PAUSE_US = 5 * SECOND_US
"""A server that is back is used again within five seconds."""
FULL_US = 2 * SECOND_US
"""How long a lane that has connections leaves a server alone that takes no more of them."""


@dataclass(frozen=True, slots=True, order=True)
class LaneKey:
    """Which lane. One site can be of two providers, if those are known by the domain."""

    source: str
    site: str
    provider: str = ""

    def __str__(self) -> str:
        return lane_name(self.source, self.site, self.provider)

    @property
    def group(self) -> tuple[str, str]:
        """The lanes that can take over from each other."""
        return self.site, self.provider


@dataclass(slots=True)
class LaneState:
    """Used by the board only."""

    key: LaneKey
    egress: Egress
    queue: LaneQueue = field(default_factory=LaneQueue)
    in_flight: int = 0
    """Mails that have begun and have no answer yet."""
    open: int = 0
    """Connections, those that carry a mail included."""
    opening: int = 0
    failures: int = 0
    """Connections that failed in a row."""
    rests_until_us: int = 0
    refused_until_us: int = 0
    """No connection is opened until then: no slot of a limit was free, or the last one failed."""
    pause_us: int = 0
    """How long the last pause after a failure was."""
    keys: ProviderKeys = field(init=False)
    targets: Mapping[ActionScope, ActionTarget] = field(init=False)
    """What actions on this lane's way act on."""
    rates: list[NamedRate] = field(default_factory=list)
    connection_rate: NamedRate | None = None
    changes: Mapping[str, ActiveAction] = field(default_factory=dict)
    used: bool = True
    """Whether anything has happened here since unused lanes were dropped last."""
    _version: int = -1

    def __post_init__(self) -> None:
        self.keys, self.targets = self.egress.keys, targets_of(self.egress, None)

    @property
    def idle(self) -> int:
        """Connections that carry no mail."""
        return max(0, self.open - self.in_flight)

    @property
    def empty(self) -> bool:
        """Whether nothing waits here, is open or on its way."""
        return not (len(self.queue) or self.open or self.opening or self.in_flight)

    @property
    def unreachable(self) -> bool:
        """Whether there is no connection, and the last one that was tried failed."""
        return self.failures > 0 and not self.open

    def connected(self) -> None:
        """A connection could be opened."""
        self.failures = self.pause_us = 0

    def failed(self, now_us: int) -> None:
        """A connection could not be opened. The next one is tried later, and after too many in a row the lane rests.

        While others are open, the server only limits their number. Failures at one moment count as one pause.
        """
        self.failures += 1
        if now_us >= self.refused_until_us:
            self.pause_us = FULL_US if self.open else min(max(FIRST_PAUSE_US, 2 * self.pause_us), LONGEST_PAUSE_US)
            self.refused_until_us = now_us + self.pause_us
        most, rest = self.keys.consecutive_connection_failures_before_delay, self.keys.retry_interval
        if most is not None and rest is not None and self.failures >= most:
            self.rests_until_us = now_us + round(rest.total_seconds() * SECOND_US)

    def refresh(self, actions: ActionBook, now_us: int) -> None:
        """Takes up what rules have set since. What failed with other keys is tried at once."""
        if self._version != actions.version:
            self._version, before = actions.version, self.keys
            self.keys, self.changes = keys_now(self.egress, actions, now_us)
            self.rates = rates_of_lane(self.egress, self.keys, self.changes)
            self.connection_rate = connection_rate(self.egress, self.keys, self.changes)
            if self.keys != before:
                self.failures = self.pause_us = self.refused_until_us = self.rests_until_us = 0

    def changed(self, egress: Egress) -> Egress:
        """A way of this lane with the values that rules and people have set for it."""
        if not self.changes:
            return egress
        values = {key: EffectiveValue(action.values[key], None) for key, action in self.changes.items()}
        return replace(egress, values={**egress.values, **values})

    def stale(self, egress: Egress) -> None:
        """Another file is in force."""
        self.egress, self.targets, self._version = egress, targets_of(egress, None), -1
