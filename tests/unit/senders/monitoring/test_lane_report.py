"""What /status says of lanes."""

from collections.abc import Iterator

from senders.delivery.lane_pace import LanePace
from senders.monitoring.lane_report import LaneReport
from senders.shaping.bindings import Binding
from senders.shaping.lane_board import LaneBoard
from senders.shaping.lane_state import LaneState
from senders.shaping.loader import parse
from senders.shaping.permits import PermitBook


class CountingBoard(LaneBoard):
    readings = 0

    def lanes(self) -> Iterator[tuple[LaneState, Binding | None]]:
        self.readings += 1
        return super().lanes()


def test_a_report_reads_the_lanes_once() -> None:
    """To find what binds each lane takes time, in which the event loop sends nothing."""
    board = CountingBoard(parse(b'[source.one]\nrelays = ["127.0.0.1:25"]', "f"), PermitBook)
    report = LaneReport(board, LanePace(), [], 0.0, 0).as_json()
    assert board.readings == 1
    assert [source["source"] for source in report["sources"]] == ["one"]
