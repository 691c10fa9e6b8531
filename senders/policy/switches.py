"""The switches of the topic `control`, as delivery checks each command against them.

They are kept in memory. While Kafka is away, the last known ones stay in force.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from schemas.brands import purpose_in
from schemas.commands import SendCommand
from schemas.endpoints import WEBHOOK
from schemas.rules import DELIVERY, Control
from schemas.switches import SwitchBoard
from schemas.vocabulary import PauseMode
from senders.policy.key_switches import set_values

WAY_KINDS = ("source", "site", "provider")
"""What a scope of delivery can name of the way that mails take, which only lanes know."""


def label(switch: Control) -> str:
    """The scope and the number of a switch: which record it was that a command waits for."""
    return f"{switch.scope} (switch {switch.number})"


class DeliverySwitches:
    """The switches that this worker has read. One thread writes; any may read."""

    def __init__(self) -> None:
        self._switches = SwitchBoard()
        self._paused: Mapping[str, Control] = {}
        self._sets: list[Control] = []
        self._traces: list[Control] = []
        self.known = False
        """Whether the topic has been read to its end. Before that nothing may be sent."""
        self._retries: list[Control] = []

    @property
    def number(self) -> int:
        """The highest number of all switches read."""
        return self._switches.number

    def put(self, control: Control) -> bool:
        """Adds a switch. Returns whether it is new.

        Raises OlderNumber, or DecodeError if it sets what cannot be set, without changing anything.
        """
        set_values(control)
        is_new = self._switches.put(control)
        if is_new and control.retry and self.known:
            self._retries.append(control)
        self._paused = {scope: each for scope, each in self._switches.latest.items() if each.paused}
        self._sets = [each for each in self._switches.latest.values() if each.values]
        self._traces = [each for each in self._switches.latest.values() if each.trace]
        return is_new

    def take_retries(self) -> list[Control]:
        """What is to be retried since the last call. Older requests than this worker do not count."""
        taken, self._retries = self._retries, []
        return taken

    def binding(
        self, command: SendCommand, address: str | None, admitted_at: datetime, now: datetime
    ) -> Control | None:
        """The switch by which the command may not go out now: one that discards it, or else the one that ends last."""
        if not self._paused:
            return None
        paused = [
            switch
            for scope in _scopes(command, address)
            if (switch := self._paused.get(scope)) is not None
            and switch.in_force(now)
            and not (switch.mode is PauseMode.DRAIN and admitted_at <= switch.at)
        ]
        return max(paused, key=_weight, default=None)

    def ways(self, now: datetime) -> list[Control]:
        """The switches in force that hold a way of mails."""
        kinds = tuple(f"{DELIVERY}/{kind}/" for kind in WAY_KINDS)
        return [each for scope, each in self._paused.items() if scope.startswith(kinds) and each.in_force(now)]

    def sets(self, now: datetime) -> list[Control]:
        """The switches in force that give keys of the shaping file other values."""
        return [each for each in self._sets if each.in_force(now)]

    def traces(self, now: datetime) -> list[Control]:
        """Who watches conversations, and with which domain."""
        return [each for each in self._traces if each.in_force(now)]

    def holding(self, now: datetime) -> list[str]:
        """The labels of the switches that hold commands now."""
        return [
            label(switch)
            for switch in self._paused.values()
            if switch.mode is not PauseMode.DISCARD and switch.in_force(now)
        ]


NO_SWITCHES = DeliverySwitches()
"""For a request that no switch concerns. Never written."""


def _scopes(command: SendCommand, address: str | None) -> Iterable[str]:
    trigger, purpose = f"trigger/{command.trigger}", f"purpose/{command.purpose}"
    yield from ("global", trigger, purpose, DELIVERY, f"{DELIVERY}/{trigger}", f"{DELIVERY}/{purpose}")
    if command.brand is not None:
        for each in (f"purpose/{purpose_in(command.brand, command.purpose)}", f"brand/{command.brand}"):
            yield from (each, f"{DELIVERY}/{each}")
    if command.channel == WEBHOOK:
        endpoint = f"endpoint/{command.template}"
        yield from (endpoint, f"{DELIVERY}/{endpoint}")
    if address is not None:
        yield f"{DELIVERY}/domain/{address.rpartition('@')[2].lower()}"


def _weight(switch: Control) -> tuple[bool, bool, float]:
    until = switch.until
    return switch.mode is PauseMode.DISCARD, until is None, 0.0 if until is None else until.timestamp()
