"""What /status says of lanes: what waits on each and what binds it, its rate against its limit, blocks and sources.

Bounded, however many lanes there are: the busiest are shown, and the number of the others.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from senders.delivery.lane_pace import LanePace
from senders.shaping.actions import ActiveAction
from senders.shaping.bindings import OPEN_END_US, Binding
from senders.shaping.document import ActionKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.keys import ProviderKeys
from senders.shaping.lane_board import LaneBoard
from senders.shaping.lane_state import LaneState
from senders.shaping.pools import sources_of
from senders.shaping.ways import target_words

MAX_LANES = 50
MAX_ACTIONS = 50


@dataclass(frozen=True, slots=True)
class LaneReport:
    """Made anew for each answer. `now_s` is the event loop's clock, `now_us` the server's."""

    board: LaneBoard
    pace: LanePace
    problems: Iterable[str]
    now_s: float
    now_us: int

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        all_lanes = list(self.board.lanes())  # what binds each is found anew at each reading
        lanes = sorted(self._lanes(all_lanes), key=lambda lane: (-lane["waiting"], -lane["connections"], lane["lane"]))
        return {
            "lanes": lanes[:MAX_LANES],
            "lanes_left_out": max(0, len(lanes) - MAX_LANES),
            "elsewhere": [self._elsewhere(binding, waiting) for binding, waiting in self.board.unplaced(MAX_LANES)],
            "actions": self._actions(),
            "sources": self._sources(lane for lane, _ in all_lanes),
            "problems": list(self.problems),
        }

    def _lanes(self, lanes: Iterable[tuple[LaneState, Binding | None]]) -> Iterator[dict[str, Any]]:
        for lane, binding in lanes:
            pace = self.pace.per_second(lane.key, self.now_s)
            if pace or not lane.empty:
                yield self._lane(lane, binding, pace)

    def _lane(self, lane: LaneState, binding: Binding | None, pace: float) -> dict[str, Any]:
        rates = [*lane.rates, *([lane.connection_rate] if lane.connection_rate is not None else [])]
        return {
            "lane": str(lane.key),
            "source": lane.key.source,
            "site": lane.key.site,
            "provider": lane.key.provider,
            "waiting": len(lane.queue),
            "on_the_way": lane.in_flight,
            "connections": lane.open,
            "connection_limit": lane.keys.connection_limit,
            "mails_per_s": round(pace, 2),
            "limits": {each.paced.name: {"rate": str(each.rate), "set_by": each.set_by} for each in rates},
            "failures": lane.failures,
            "binding": None if binding is None else binding_json(binding),
        }

    def _elsewhere(self, binding: Binding, waiting: int) -> dict[str, Any]:
        return {"waiting": waiting, "binding": binding_json(binding)}

    def _actions(self) -> list[dict[str, Any]]:
        """What rules and people do, the latest first."""
        latest = sorted(self.board.actions, key=lambda action: -action.since_us)
        return [self._action(action) for action in latest[:MAX_ACTIONS]]

    def _action(self, action: ActiveAction) -> dict[str, Any]:
        values = ProviderKeys.model_construct(**action.values).model_dump(mode="json", include=set(action.values))
        return {
            "kind": action.kind.value,
            "target": target_words(action.target),
            "rule": action.rule,
            "since": _time(action.since_us),
            "until": _time(action.until_us),
            "on_probation": action.until_us <= self.now_us,
            "values": values,
            "reply": action.reply,
        }

    def _sources(self, lanes: Iterable[LaneState]) -> list[dict[str, Any]]:
        """Each source of the file in force: what it does, and where it is suspended."""
        found: dict[str, list[LaneState]] = {name: [] for name in sources_of(self.board.file.document)}
        for lane in lanes:
            found.setdefault(lane.key.source, []).append(lane)
        return [self._source(name, of_source) for name, of_source in found.items()]

    def _source(self, name: str, lanes: list[LaneState]) -> dict[str, Any]:
        everywhere = self.board.actions.stops([("source", name)], ActionKind.SUSPEND, self.now_us)
        counts = Counter(self._state(lane) for lane in lanes)
        return {
            "source": name,
            "state": "suspended" if everywhere is not None else "in_use",
            "until": None if everywhere is None else _time(everywhere.until_us),
            "by": None if everywhere is None else everywhere.rule,
            "waiting": sum(len(lane.queue) for lane in lanes),
            "on_the_way": sum(lane.in_flight for lane in lanes),
            "connections": sum(lane.open for lane in lanes),
            "mails_per_s": round(sum(self.pace.per_second(lane.key, self.now_s) for lane in lanes), 2),
            "lanes_suspended": counts["suspended"],
            "lanes_unreachable": counts["unreachable"],
        }

    def _state(self, lane: LaneState) -> str:
        if self.board.actions.stops(lane.targets.values(), ActionKind.SUSPEND, self.now_us) is not None:
            return "suspended"
        return "unreachable" if lane.unreachable and len(lane.queue) else "in_use"


def binding_json(binding: Binding) -> dict[str, Any]:
    """What binds as JSON values."""
    return {
        "kind": binding.kind.value,
        "name": binding.name,
        "observed": binding.observed,
        "limit": binding.limit,
        "until": _time(binding.until_us),
        "set_by": binding.set_by,
    }


def _time(at_us: int | None) -> str | None:
    """A time in ISO form; None for one that does not come."""
    if at_us is None or at_us >= OPEN_END_US:
        return None
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).isoformat()
