"""Which lanes are to be looked at: at once, at a time, or when a limit has answered. Pure."""

from heapq import heappop, heappush

from senders.shaping.lane_state import LaneKey


class LaneCalls:
    """Used by the board only. A lane may be gone when its call is due."""

    def __init__(self) -> None:
        self._now: dict[LaneKey, None] = {}
        self._timers: list[tuple[int, LaneKey]] = []
        self._first: dict[LaneKey, int] = {}
        """The time of each lane that is in `_timers`: its soonest one."""
        self._on_grant: dict[str, set[LaneKey]] = {}

    @property
    def next_us(self) -> int | None:
        """When the next lane's time comes; 0 if a lane is to be looked at anyway."""
        if self._now:
            return 0
        return self._timers[0][0] if self._timers else None

    def add(self, key: LaneKey) -> None:
        """Look at a lane with the next decision."""
        self._now[key] = None

    def at(self, at_us: int, key: LaneKey) -> None:
        """Look at a lane at this time at the latest; it says then whether it needs another look."""
        first = self._first.get(key)
        if first is None or at_us < first:
            self._first[key] = at_us
            heappush(self._timers, (at_us, key))

    def on_grant(self, limit: str, key: LaneKey) -> None:
        """Look at a lane when this limit has answered."""
        self._on_grant.setdefault(limit, set()).add(key)

    def granted(self, limit: str) -> None:
        """A limit has answered."""
        self._now |= dict.fromkeys(self._on_grant.pop(limit, ()))

    def due(self, now_us: int) -> list[LaneKey]:
        """The lanes to look at now."""
        while self._timers and self._timers[0][0] <= now_us:
            at_us, key = heappop(self._timers)
            if self._first.get(key) == at_us:
                del self._first[key]
                self.add(key)
        due, self._now = list(self._now), {}
        return due
