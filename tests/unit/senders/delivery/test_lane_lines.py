"""The lines that a worker knows: as many as it may, and those that it learned of last."""

import pytest
from drivers.running_senders import a_command

from schemas.vocabulary import LedgerState
from senders.delivery import lane_lines
from senders.delivery.lane_lines import UNKNOWN, LaneLines, Line
from senders.queue.ledger import DueCommand
from senders.queue.lines import line_of

NOW = lane_lines.LONG_AGO
DUE = DueCommand(a_command("u1", "h"), 0, LedgerState.ADMITTED, 0, NOW, NOW)


def test_lines_that_are_found_take_the_place_of_others_where_too_many_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_lines, "MOST_FOUND", 2)
    known = LaneLines(lambda _: None, lambda _: None, lambda _: 0)
    known.join("first", Line(), DUE)
    known.found([1, line_of("first")])

    known.found([2, 1])
    assert known.wanted(1000, NOW) == {1: UNKNOWN, 2: UNKNOWN}

    known.join("last", Line(), DUE)
    assert line_of("last") in known.wanted(1000, NOW)
    assert len(known.wanted(1000, NOW)) == 2
