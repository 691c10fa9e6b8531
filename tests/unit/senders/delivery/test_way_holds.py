"""What people hold on the way of mails: sources, whose pool takes over, sites and providers, which wait."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from drivers.lane_world import BEGIN_US, FREE, LaneWorld

from schemas.codec import DecodeError
from schemas.rules import Control
from senders.delivery.way_holds import WayHolds
from senders.policy.switches import DeliverySwitches
from senders.shaping.bindings import BindingKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_state import LaneKey

TWO = FREE + "[source.a]\n[source.b]\n[pool.all]\nsources = ['a', 'b']\n"
PROVIDER = "[provider.p]\nmatch = [{mx_suffix = '.p.example'}]\n"


class HeldBoard:
    """Lanes, and the switches that people publish."""

    def __init__(self, text: str) -> None:
        self.world = LaneWorld(text)
        self.switches = DeliverySwitches()
        self.holds = WayHolds(self.switches, self.world.board, self.now)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.world.now_us / SECOND_US, UTC)

    def switch(self, scope: str, **changes: Any) -> bool:
        """Publish a switch. Returns whether something is held no more."""
        fields: dict[str, Any] = {"number": self.switches.number + 1, "paused": True, "at": self.now(), "by": "ada"}
        self.switches.put(Control(scope=f"delivery/{scope}", **(fields | changes)))
        return self.holds.follow()

    def sources(self, numbers: range, domain: str = "d.example") -> set[str]:
        """The sources of these mails, as far as they begin."""
        for number in numbers:
            self.world.mail(number, domain)
        return {begin.lane.source for begin in self.world.run(1)}


def test_the_mails_of_a_source_that_is_held_leave_from_the_others_of_its_pool() -> None:
    held = HeldBoard(TWO)
    assert not held.switch("source/a")
    assert held.sources(range(40)) == {"b"}

    assert held.switch("source/a", paused=False)
    assert held.sources(range(100, 140)) == {"a", "b"}


def test_mails_to_a_site_that_is_held_wait_and_say_by_which_switch() -> None:
    held = HeldBoard(TWO)
    held.switch("site/mx.d.example")
    mail = held.world.mail(1)
    assert held.sources(range(10, 20), "other.example") == {"a", "b"}

    binding = held.world.binding(mail)
    assert (binding.kind, binding.set_by) == (BindingKind.HELD, "delivery/site/mx.d.example (switch 1)")


def test_a_provider_that_is_held_gets_no_mail_from_any_source_until_the_end_of_the_hold() -> None:
    held = HeldBoard(TWO + PROVIDER)
    held.world.mx["one.example"] = ["mx.p.example"]
    held.switch("provider/p", until=datetime.fromtimestamp(BEGIN_US / SECOND_US, UTC) + timedelta(seconds=5))
    assert held.sources(range(20), "one.example") == set()

    held.world.run(5)

    assert held.holds.follow()
    assert {begin.mail.id for _, begin in held.world.begun} == {f"m{number}" for number in range(20)}


def started(held: HeldBoard, numbers: range, seconds: float = 1, **mail: str) -> int:
    """How many mails begin meanwhile."""
    for number in numbers:
        held.world.mail(number, **mail)
    return len(held.world.run(seconds))


def test_a_key_that_is_set_for_a_provider_holds_there_and_ends_by_itself() -> None:
    held = HeldBoard(TWO + PROVIDER)
    held.world.mx["one.example"] = ["mx.p.example"]
    until = datetime.fromtimestamp(BEGIN_US / SECOND_US, UTC) + timedelta(seconds=5)
    held.switch("provider/p", paused=False, values={"max_message_rate": "1/m"}, until=until)

    assert started(held, range(50), domain="one.example") <= 2, "one from each source"
    assert started(held, range(100, 150), domain="other.example") == 50

    begun = len(held.world.run(4))
    assert held.holds.follow()
    assert begun + started(held, range(200, 210), domain="one.example") >= 50 + 10 - 2, (
        "all that waited, and the new ones"
    )


def test_a_key_that_is_set_may_also_be_more_than_the_file_says_and_names_its_switch() -> None:
    held = HeldBoard(FREE + "[site.'mx.d.example']\nmax_message_rate = '1/m'\n")
    assert started(held, range(20)) == 1
    held.switch("site/mx.d.example", paused=False, values={"max_message_rate": "600/m"})
    assert started(held, range(100, 101)) >= 8

    held.switch("site/mx.d.example", paused=False, values={"connection_limit": 1})
    [change] = [each for each in held.world.board.actions if "connection_limit" in each.values]
    assert change.rule == "delivery/site/mx.d.example (switch 2)"


def test_a_rate_that_is_set_for_a_trigger_or_a_purpose_holds_wherever_its_mails_go() -> None:
    held = HeldBoard(FREE)
    held.switch("trigger/t", paused=False, values={"max_message_rate": "1/m"})

    domains = [f"d{number}.example" for number in range(10)]
    begun = sum(
        started(held, range(10 * number, 10 * number + 5), 0.1, domain=each) for number, each in enumerate(domains)
    )
    others = sum(started(held, range(1000 + number, 1001 + number), trigger="other") for number in range(5))

    assert begun == 1
    assert others == 5


def test_a_source_that_is_drained_gets_no_more_mails_while_its_pool_has_another() -> None:
    held = HeldBoard(TWO)
    held.switch("source/a", mode="drain")

    assert held.sources(range(40)) == {"b"}


def test_a_drain_concerns_what_was_admitted_after_it_on_its_ways() -> None:
    held = HeldBoard(TWO + PROVIDER)
    held.switch("provider/p", mode="drain")
    before, after = held.now() - timedelta(seconds=1), held.now() + timedelta(seconds=1)

    assert held.holds.drain(LaneKey("a", "mx.p.example", "p"), before) is None
    assert held.holds.drain(LaneKey("a", "mx.other.example"), after) is None
    switch = held.holds.drain(LaneKey("a", "mx.p.example", "p"), after)
    assert switch is not None
    assert switch.number == 1


@pytest.mark.parametrize(
    ("scope", "values", "said"),
    [
        ("provider/p", {"max_message_rate": "fast"}, "not a rate"),
        ("provider/p", {"nonsense": 1}, "unknown key `nonsense`"),
        ("trigger/t", {"connection_limit": 1}, "a trigger takes only `max_message_rate`"),
        ("domain/d.example", {"connection_limit": 1}, "cannot be set there"),
    ],
)
def test_a_record_that_sets_what_cannot_be_set_changes_nothing(scope: str, values: Any, said: str) -> None:
    held = HeldBoard(TWO)

    with pytest.raises(DecodeError, match=said):
        held.switch(scope, paused=False, values=values)
    assert held.switches.number == 0
