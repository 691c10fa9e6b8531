"""A mail as shaping sees it, and the way that it takes. No address, no content."""

from dataclasses import dataclass

from senders.shaping.document import ActionScope
from senders.shaping.resolution import Egress

ActionTarget = tuple[str, ...]
"""What an action acts on: its scope, then the names that it has there."""


@dataclass(frozen=True, slots=True)
class TrafficKind:
    """What limits by kind of mail tell apart."""

    trigger: str
    purpose: str
    from_domain: str


@dataclass(frozen=True, slots=True)
class ShapedMail:
    """A mail that is due. `last_source` is the one of its last attempt; `blocked`: the server refused that source."""

    id: str
    domain: str
    kind: TrafficKind
    priority: int
    due_us: int
    last_source: str | None = None
    blocked: bool = False


def targets_of(egress: Egress, kind: TrafficKind | None) -> dict[ActionScope, ActionTarget]:
    """What actions of each scope act on, for mails on this way; without a kind, those of the way only."""
    there = f"provider {egress.provider}" if egress.provider is not None else f"site {egress.site}"
    ways = {
        ActionScope.LANE: ("lane", egress.source, egress.site),
        ActionScope.SITE: ("site", egress.site),
        ActionScope.PROVIDER: ("provider", egress.source, there),
        ActionScope.SOURCE: ("source", egress.source),
    }
    if kind is None:
        return ways
    return ways | {
        ActionScope.TRIGGER: ("trigger", kind.trigger, there),
        ActionScope.PURPOSE: ("purpose", kind.purpose, there),
        ActionScope.FROM_DOMAIN: ("from_domain", kind.from_domain, there),
    }


def target_words(target: ActionTarget) -> str:
    """What an action acts on, in words, as in `source bulk1 at provider yahoo`."""
    scope, name, *there = target
    if scope == ActionScope.LANE or not there:
        return " ".join(target)
    return f"{'source' if scope == ActionScope.PROVIDER else scope} {name} at {there[0]}"
