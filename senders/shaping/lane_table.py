"""The lanes of a worker, and which of them take over from each other. Pure.

While a source is suspended at a site, or on probation, the other sources of the pool take from its queue too; its mails
stay in it, and nothing has to move back.
"""

from collections.abc import Iterator

from senders.shaping.actions import ActionBook
from senders.shaping.lane_state import LaneKey, LaneState
from senders.shaping.resolution import Egress


class LaneTable:
    """Used by the board only."""

    def __init__(self, actions: ActionBook) -> None:
        self._actions = actions
        self._lanes: dict[LaneKey, LaneState] = {}
        self._groups: dict[tuple[str, str], dict[LaneKey, LaneState]] = {}
        """The lanes that can take over from each other, in the order in which they came."""

    def __iter__(self) -> Iterator[LaneState]:
        return iter(self._lanes.values())

    def __getitem__(self, key: LaneKey) -> LaneState:
        return self._lanes[key]

    def get(self, key: LaneKey) -> LaneState | None:
        """The lane, if there is one."""
        return self._lanes.get(key)

    def of(self, egress: Egress) -> LaneState:
        """The lane of a way, a new one if there is none."""
        key = LaneKey(egress.source, egress.site, egress.provider or "")
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = LaneState(key, egress)
            self._groups.setdefault(key.group, {})[key] = lane
        return lane

    def drop_unused(self, now_us: int) -> list[LaneKey]:
        """Forget the lanes that rest no more, and on which nothing has happened since the last call. Returns them."""
        empty = [lane for lane in self._lanes.values() if lane.empty and lane.rests_until_us <= now_us]
        unused = [lane.key for lane in empty if not lane.used]
        for key in unused:
            del self._lanes[key]
            group = self._groups[key.group]
            del group[key]
            if not group:
                del self._groups[key.group]
        for lane in self._lanes.values():
            lane.used = False
        return unused

    def gives(self, lane: LaneState) -> bool:
        """Whether other sources take from a lane's queue."""
        if self._actions.empty or not len(lane.queue):
            return False
        return self._actions.suspension(lane.targets.values()) is not None

    def givers(self, lane: LaneState) -> list[LaneState]:
        """The lanes from whose queues a lane takes: itself first."""
        if self._actions.empty:
            return [lane]
        group = self._groups[lane.key.group].values()
        return [lane, *(other for other in group if other is not lane and self.gives(other))]

    def takers(self, lane: LaneState) -> list[LaneKey]:
        """The lanes that may take from a lane's queue."""
        if not self.gives(lane):
            return [lane.key]
        return list(self._groups[lane.key.group])
