"""Rules over replies: which ones a reply matches, and which actions follow. Pure; times in µs.

Matches are counted for each rule and target, so that replies about one lane do not act on another.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from senders.shaping.actions import ActiveAction
from senders.shaping.document import AutomationRule, SmtpState
from senders.shaping.patterns import ReplyPattern
from senders.shaping.resolution import Egress, PlacedRule
from senders.shaping.ways import ActionTarget, TrafficKind, targets_of

SECOND_US = 1_000_000
MAX_COUNTED = 100_000
"""Rules with targets whose matches are counted. The one that matched longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class SeenReply:
    """A reply of a server on one line, as in `421 4.7.0 Try again`. `internal`: we made it ourselves."""

    text: str
    state: SmtpState
    at_us: int
    internal: bool = False


class ReplyWatch:
    """Counts matches. One for a worker."""

    def __init__(self) -> None:
        self._matches: dict[tuple[str, ActionTarget], deque[int]] = {}

    def see(self, egress: Egress, kind: TrafficKind, reply: SeenReply) -> list[ActiveAction]:
        """The actions that a reply triggers, on the way of its mail."""
        if reply.internal:
            return []
        found: list[ActiveAction] = []
        for placed in matching(egress.rules, reply):
            target = targets_of(egress, kind)[placed.rule.scope]
            if self._triggers(placed, target, reply.at_us):
                found += _actions(placed, target, reply)
        return found

    def _triggers(self, placed: PlacedRule, target: ActionTarget, at_us: int) -> bool:
        trigger = placed.rule.trigger
        if trigger is None or trigger.count == 1:
            return True
        key = placed.name, target
        matches = self._matches.pop(key, None) or deque(maxlen=trigger.count)
        self._matches[key] = matches
        if len(self._matches) > MAX_COUNTED:
            del self._matches[next(iter(self._matches))]
        matches.append(at_us)
        return len(matches) == trigger.count and matches[0] > at_us - trigger.period_s * SECOND_US


def matching(rules: Sequence[PlacedRule], reply: SeenReply) -> Iterator[PlacedRule]:
    """The rules that a reply matches, in their order."""
    for placed in rules:
        rule = placed.rule
        if reply.state in rule.state and any(_compiled(text).found_in(reply.text) for text in rule.pattern):
            yield placed


def _actions(placed: PlacedRule, target: ActionTarget, reply: SeenReply) -> Iterator[ActiveAction]:
    until_us = reply.at_us + _us(placed.rule)
    for action in placed.rule.action:
        values = {key: getattr(action.set, key) for key in action.set.model_fields_set} if action.set else {}
        yield ActiveAction(target, action.kind, placed.name, reply.at_us, until_us, values, reply.text)


def _us(rule: AutomationRule) -> int:
    return round(rule.duration.total_seconds() * SECOND_US)


@lru_cache(maxsize=4096)
def _compiled(text: str) -> ReplyPattern:
    return ReplyPattern(text)
