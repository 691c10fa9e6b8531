"""What automation has done and is still in force: suspensions, holds and keys with other values. Pure; times in µs.

A suspension that ends leaves its target on probation: one mail at a time begins there, until one is taken. A reply that
the rule matches suspends it again. So what still is blocked costs one mail at each end, and not a queue.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from senders.shaping.document import ActionKind
from senders.shaping.keys import ProviderKeys
from senders.shaping.quantities import SendRate
from senders.shaping.ways import ActionTarget

HOUR_US = 3_600_000_000
KEEP_US = 24 * HOUR_US
"""How long a suspension stays on probation that nobody tries."""


@dataclass(frozen=True, slots=True)
class ActiveAction:
    """One action of a rule. `reply` is what triggered it, without addresses."""

    target: ActionTarget
    kind: ActionKind
    rule: str
    since_us: int
    until_us: int
    values: Mapping[str, Any] = field(default_factory=dict)
    """The keys that a `set` sets."""
    reply: str = ""

    @property
    def id(self) -> tuple[ActionTarget, ActionKind, str]:
        """An action that triggers again takes the place of the one before."""
        return self.target, self.kind, self.rule


class ActionBook:
    """The actions that are in force or on probation."""

    def __init__(self) -> None:
        self._actions: dict[tuple[ActionTarget, ActionKind, str], ActiveAction] = {}
        self._by_target: dict[ActionTarget, dict[tuple[ActionTarget, ActionKind, str], ActiveAction]] = {}
        self._next_end_us = 0
        self.version = 0
        """Changes whenever another action is in force."""

    @property
    def empty(self) -> bool:
        """Whether nothing is in force or on probation. So it is nearly always, and nobody needs to ask further."""
        return not self._actions

    def __iter__(self) -> Iterator[ActiveAction]:
        return iter(self._actions.values())

    def add(self, action: ActiveAction) -> None:
        """Notes an action. It never ends sooner than the same one that is in force."""
        known = self._actions.get(action.id)
        if known is None or known.until_us < action.until_us:
            self._actions[action.id] = action
            self._by_target.setdefault(action.target, {})[action.id] = action
            self._next_end_us = min(self._next_end_us, action.until_us)
            self.version += 1

    def follow(self, action: ActiveAction, *, lifted: bool) -> None:
        """Notes an action as another worker or a person has it."""
        known = self._actions.get(action.id)
        if not lifted:
            self.add(action)
        elif known is not None and known.until_us <= action.until_us:
            self._drop(known)

    def taken(self, targets: Iterable[ActionTarget], now_us: int) -> list[ActiveAction]:
        """A mail was taken on this way: suspensions that have ended are over. Returns them, for the other workers."""
        over = [each for each in self._on(targets) if each.until_us <= now_us]
        for action in over:
            self._drop(action)
        return over

    def forget(self, now_us: int) -> bool:
        """Drops holds and keys whose time is over; suspensions stay on probation, for a day at most.

        Returns whether anything may have ended.
        """
        if now_us < self._next_end_us:
            return False
        self.version += 1
        over = [each for each in self._actions.values() if each.until_us <= now_us]
        for action in over:
            if action.kind is not ActionKind.SUSPEND or action.until_us <= now_us - KEEP_US:
                self._drop(action)
        ends = (each.until_us for each in self._actions.values() if each.until_us > now_us)
        self._next_end_us = min(ends, default=now_us + HOUR_US)
        return bool(over)

    def stops(self, targets: Iterable[ActionTarget], kind: ActionKind, now_us: int) -> ActiveAction | None:
        """The suspension or hold that is in force on any of these targets, the one that ends last."""
        found = [each for each in self._on(targets) if each.kind is kind and each.until_us > now_us]
        return max(found, key=lambda each: each.until_us, default=None)

    def suspension(self, targets: Iterable[ActionTarget]) -> ActiveAction | None:
        """A suspension of any of these targets, in force or on probation."""
        return next((each for each in self._on(targets) if each.kind is ActionKind.SUSPEND), None)

    def values(self, targets: Iterable[ActionTarget], now_us: int) -> dict[str, ActiveAction]:
        """For each key that actions set, the action with the strictest value."""
        found: dict[str, ActiveAction] = {}
        for action in self._on(targets):
            if action.kind is ActionKind.SET and action.until_us > now_us:
                for key, value in action.values.items():
                    if key not in found or strictness(value) < strictness(found[key].values[key]):
                        found[key] = action
        return found

    def _on(self, targets: Iterable[ActionTarget]) -> Iterator[ActiveAction]:
        for target in targets:
            yield from self._by_target.get(target, {}).values()

    def _drop(self, action: ActiveAction) -> None:
        self.version += 1
        del self._actions[action.id]
        of_target = self._by_target[action.target]
        del of_target[action.id]
        if not of_target:
            del self._by_target[action.target]


def strictness(value: Any) -> float:
    """Orders values of one key: the smallest is the strictest. Waits are stricter when longer; texts come first."""
    if isinstance(value, SendRate):
        return value.count / value.period_s
    if isinstance(value, timedelta):
        return -value.total_seconds()
    return float(value) if isinstance(value, int) else 0.0


def applied(keys: ProviderKeys, changes: Mapping[str, ActiveAction]) -> ProviderKeys:
    """The keys with the values that actions set."""
    return keys.model_copy(update={key: action.values[key] for key, action in changes.items()})
