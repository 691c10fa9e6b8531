"""What people hold and set on the way of mails: a source, a site or a provider, as actions on the lane board.

Other sources of its pool take the mails of a source that is held. Mails to a site or provider that is held wait. What
is drained takes what was admitted before and nothing later; of a source, others of its pool do. A key that is set has
its value beside those that rules set: of one key the strictest value counts.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from schemas.rules import DELIVERY, Control
from schemas.vocabulary import PauseMode
from senders.policy.key_switches import set_values
from senders.policy.switches import DeliverySwitches, label
from senders.shaping.actions import ActiveAction
from senders.shaping.bindings import OPEN_END_US
from senders.shaping.document import ActionKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_board import LaneBoard
from senders.shaping.lane_state import LaneKey
from senders.shaping.pools import sources_of
from senders.shaping.ways import ActionTarget


class WayHolds:
    """Used in the event loop's thread only."""

    def __init__(
        self,
        switches: DeliverySwitches,
        board: LaneBoard,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._switches = switches
        self._board = board
        self._clock = clock
        self._held: dict[tuple[ActionTarget, ActionKind, str], ActiveAction] = {}

    def drain(self, lane: LaneKey, admitted_at: datetime) -> Control | None:
        """The switch by which a lane takes only what was admitted before; None if it takes this mail."""
        return next((each for each in self.drains if admitted_at > each.at and _concerns(each, lane)), None)

    @property
    def drains(self) -> list[Control]:
        """The drains in force at this moment: what is asked here is released by the switch that ends it."""
        return [each for each in self._switches.ways(self._clock()) if each.mode is PauseMode.DRAIN]

    def follow(self) -> bool:
        """Put in force what people hold now. Returns whether they hold something no more."""
        self._board.avoid(frozenset(_name(switch) for switch in self.drains if _kind(switch) == "source"))
        held = {action.id: action for action in self._actions()}
        ended = [action for id_, action in self._held.items() if id_ not in held]
        begun = [action for id_, action in held.items() if id_ not in self._held]
        self._held = held
        self._board.follow([*((action, False) for action in begun), *((action, True) for action in ended)])
        return bool(ended)

    def _actions(self) -> Iterator[ActiveAction]:
        for switch in self._switches.ways(self._clock()):
            if switch.mode is PauseMode.DRAIN:
                continue
            kind = ActionKind.SUSPEND if _kind(switch) == "source" else ActionKind.HOLD
            yield from (_action(switch, kind, target) for target in self._targets(switch))
        for switch in self._switches.sets(self._clock()):
            yield from (_action(switch, ActionKind.SET, target) for target in self._targets(switch))

    def _targets(self, switch: Control) -> Iterable[ActionTarget]:
        kind, name = _kind(switch), _name(switch)
        if kind == "provider":
            return [("provider", source, f"provider {name}") for source in sources_of(self._board.file.document)]
        return [(kind, name)]


def _kind(switch: Control) -> str:
    return switch.scope.removeprefix(f"{DELIVERY}/").partition("/")[0]


def _name(switch: Control) -> str:
    return switch.scope.removeprefix(f"{DELIVERY}/").partition("/")[2]


def _concerns(switch: Control, lane: LaneKey) -> bool:
    return _name(switch) == {"source": lane.source, "site": lane.site, "provider": lane.provider}[_kind(switch)]


def _action(switch: Control, kind: ActionKind, target: ActionTarget) -> ActiveAction:
    until_us = OPEN_END_US if switch.until is None else round(switch.until.timestamp() * SECOND_US)
    since_us = round(switch.at.timestamp() * SECOND_US)
    return ActiveAction(target, kind, label(switch), since_us, until_us, set_values(switch), switch.why)
