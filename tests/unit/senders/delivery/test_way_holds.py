"""What people hold on the way of mails: sources, whose pool takes over, sites and providers, which wait."""

from datetime import UTC, datetime, timedelta
from typing import Any

from drivers.lane_world import BEGIN_US, LaneWorld

from schemas.rules import Control
from senders.delivery.way_holds import WayHolds
from senders.policy.switches import DeliverySwitches
from senders.shaping.bindings import BindingKind
from senders.shaping.gcra import SECOND_US

FREE = '[default]\nmax_message_rate = "100000/s"\nmax_connection_rate = "100000/s"\nconnection_limit = 50\n'
TWO = FREE + "[source.a]\n[source.b]\n[pool.all]\nsources = ['a', 'b']\n"
PROVIDER = "[provider.p]\nmatch = [{mx_suffix = '.p.example'}]\n"


class Held:
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
    held = Held(TWO)
    assert not held.switch("source/a")
    assert held.sources(range(40)) == {"b"}

    assert held.switch("source/a", paused=False)
    assert held.sources(range(100, 140)) == {"a", "b"}


def test_mails_to_a_site_that_is_held_wait_and_say_by_which_switch() -> None:
    held = Held(TWO)
    held.switch("site/mx.d.example")
    mail = held.world.mail(1)
    assert held.sources(range(10, 20), "other.example") == {"a", "b"}

    binding = held.world.binding(mail)
    assert (binding.kind, binding.set_by) == (BindingKind.HELD, "delivery/site/mx.d.example (switch 1)")


def test_a_provider_that_is_held_gets_no_mail_from_any_source_until_the_end_of_the_hold() -> None:
    held = Held(TWO + PROVIDER)
    held.world.mx["one.example"] = ["mx.p.example"]
    held.switch("provider/p", until=datetime.fromtimestamp(BEGIN_US / SECOND_US, UTC) + timedelta(seconds=5))
    assert held.sources(range(20), "one.example") == set()

    held.world.run(5)

    assert held.holds.follow()
    assert {begin.mail.id for _, begin in held.world.begun} == {f"m{number}" for number in range(20)}
