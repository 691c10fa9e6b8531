"""One mail's error is that mail's outcome: the others begin, and connections are opened."""

from drivers.lane_world import FREE, LaneWorld

from senders.shaping.gcra import PacedLimit
from senders.shaping.lane_queue import LaneQueue
from senders.shaping.permits import PermitBook
from senders.shaping.ways import ShapedMail


class BrokenWorld(LaneWorld):
    """Its book of one limit raises."""

    def _book(self, limit: PacedLimit) -> PermitBook:
        if "trigger bad" in limit.name:
            raise KeyError(limit.name)
        return super()._book(limit)


def test_a_mail_that_raises_fails_alone() -> None:
    world = BrokenWorld(FREE + "[trigger.bad]\nmax_message_rate = '10/s'\n")
    good = [world.mail(number) for number in range(10)]
    bad = [world.mail(number, trigger="bad", priority=90) for number in range(10, 13)]

    world.run(1)

    assert [failed.mail for failed in world.failed] == bad
    assert {begin.mail.id for _, begin in world.begun} == {mail.id for mail in good}
    assert all(world.board.binding(mail.id) is None for mail in bad)


class BrokenQueue(LaneQueue):
    """Raises for its first mail."""

    def heads(self) -> list[ShapedMail]:
        raise KeyError


def test_a_connection_is_opened_for_a_lane_whose_first_mail_raises() -> None:
    world = LaneWorld(FREE)
    world.mail(1)
    world.run(0.01)
    [(lane, _)] = world.board.lanes()
    lane.queue = BrokenQueue()

    assert world.board.way(lane.key) == lane.egress
