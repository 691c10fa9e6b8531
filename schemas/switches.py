"""The switches of the topic `control`: the latest of each scope, under numbers that only rise. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.rules import Control


class OlderNumber(ValueError):
    """The number of a manifest or switch is not above the last one."""


@dataclass(slots=True)
class SwitchBoard:
    """Receives records and returns what is current. One thread writes; others may read `latest`, which is replaced."""

    number: int = 0
    latest: Mapping[str, Control] = field(default_factory=dict)

    def put(self, control: Control) -> bool:
        """Adds a switch. Returns whether it is new; raises OlderNumber without changing anything."""
        if control == self.latest.get(control.key):
            return False
        if control.number <= self.number:
            raise OlderNumber(f"control {control.number} is not above {self.number}; {control.scope} does not change")
        self.latest = {**self.latest, control.key: control}
        self.number = control.number
        return True

    def paused(self) -> frozenset[str]:
        """The paused scopes."""
        return frozenset(control.scope for control in self.latest.values() if control.paused)
