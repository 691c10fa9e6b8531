"""What binds each lane, as of its last decision: all its mails, or those of a kind. Pure."""

from collections.abc import Iterable

from senders.shaping.bindings import Binding, BindingKind
from senders.shaping.lane_state import LaneKey
from senders.shaping.ways import TrafficKind

KindBindings = dict[TrafficKind | None, Binding]
"""By kind of mail; None is what binds every mail of a lane."""


class LaneBindings:
    """Used by the board only."""

    def __init__(self) -> None:
        self._found: dict[LaneKey, KindBindings] = {}

    def put(self, key: LaneKey, bindings: KindBindings) -> None:
        """Notes what binds a lane now; nothing at all, if there is none."""
        self._found.pop(key, None)
        if bindings:
            self._found[key] = bindings

    def of_lane(self, key: LaneKey) -> Binding | None:
        """What binds a lane: the first of it to end."""
        return min(self._of(key, None), key=_soonest, default=None)

    def of_mails(self, takers: Iterable[LaneKey], kind: TrafficKind | None = None) -> Binding | None:
        """What binds mails, or those of a kind, that any of these lanes may take: the first of it to end."""
        bindings = [binding for key in takers for binding in self._of(key, kind)]
        free = [each for each in bindings if each.kind is not BindingKind.SUSPENDED]
        return min(free or bindings, key=_soonest, default=None)

    def _of(self, key: LaneKey, kind: TrafficKind | None) -> list[Binding]:
        found = self._found.get(key, {})
        return [binding for of, binding in found.items() if kind is None or of is None or of == kind]


def _soonest(binding: Binding) -> tuple[bool, int]:
    """Orders what binds: what ends first, and a hold last."""
    return binding.kind is BindingKind.HELD, binding.until_us or 0
