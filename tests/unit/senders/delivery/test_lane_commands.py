"""The commands of lanes: what becomes of one whose partition leaves while its lane sets it back."""

from typing import Any

from senders.delivery.lane_commands import LaneCommands
from senders.delivery.ready_queue import ReadyQueue


async def test_a_command_that_left_before_it_was_set_back_is_left_to_its_next_worker() -> None:
    never: Any = None
    commands = LaneCommands(ReadyQueue(), *[never] * 9)

    await commands.set_back("left", ValueError("a defect of the lane"))
