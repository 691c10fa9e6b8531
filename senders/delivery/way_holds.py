"""What people hold on the way of mails: a source, a site or a provider, as actions on the lane board.

Other sources of its pool take the mails of a source that is held. Mails to a site or provider that is held wait.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from schemas.rules import DELIVERY, Control
from senders.policy.switches import DeliverySwitches, label
from senders.shaping.actions import ActiveAction
from senders.shaping.bindings import OPEN_END_US
from senders.shaping.document import ActionKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_board import LaneBoard
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

    def follow(self) -> bool:
        """Put in force what people hold now. Returns whether they hold something no more."""
        held = {action.id: action for action in self._actions()}
        ended = [action for id_, action in self._held.items() if id_ not in held]
        begun = [action for id_, action in held.items() if id_ not in self._held]
        self._held = held
        self._board.follow([*((action, False) for action in begun), *((action, True) for action in ended)])
        return bool(ended)

    def _actions(self) -> Iterator[ActiveAction]:
        for switch in self._switches.ways(self._clock()):
            kind, _, name = switch.scope.removeprefix(f"{DELIVERY}/").partition("/")
            if kind == "source":
                yield _action(switch, ActionKind.SUSPEND, ("source", name))
            elif kind == "site":
                yield _action(switch, ActionKind.HOLD, ("site", name))
            else:
                for source in sources_of(self._board.file.document):
                    yield _action(switch, ActionKind.HOLD, ("provider", source, f"provider {name}"))


def _action(switch: Control, kind: ActionKind, target: ActionTarget) -> ActiveAction:
    until_us = OPEN_END_US if switch.until is None else round(switch.until.timestamp() * SECOND_US)
    since_us = round(switch.at.timestamp() * SECOND_US)
    return ActiveAction(target, kind, label(switch), since_us, until_us, reply=switch.why)
