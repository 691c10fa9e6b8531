"""Which domains are looked up when, and that ways are resolved no more often than needed."""

from senders.shaping.gcra import SECOND_US
from senders.shaping.loader import parse
from senders.shaping.mail_places import MAX_DESTINATIONS, MailPlaces
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail, TrafficKind


def a_mail(number: int, domain: str = "d.example") -> ShapedMail:
    return ShapedMail(f"m{number}", domain, TrafficKind("t", "marketing", "shop.example"), 50, 0)


def places() -> MailPlaces:
    return MailPlaces(parse(b"", "f"))


def test_a_domain_is_looked_up_once_however_many_mails_wait_for_it() -> None:
    found = places()
    for number in range(3):
        assert found.place(a_mail(number)) is None

    assert found.lookups(0) == ["d.example"]
    assert found.lookups(0) == []
    assert len(found.looked_up(Destination.of("d.example", ["mx.d.example"]))) == 3


def test_a_lookup_that_failed_is_tried_again_at_its_time_while_mails_wait() -> None:
    found = places()
    found.place(a_mail(1))
    found.lookups(0)
    found.lookup_failed("d.example", SECOND_US)
    found.place(a_mail(2))

    assert (found.lookups(0), found.next_lookup_us) == ([], SECOND_US)
    assert found.lookups(SECOND_US) == ["d.example"]
    found.lookup_failed("d.example", 2 * SECOND_US)
    for number in (1, 2):
        found.remove(f"m{number}")
    assert found.lookups(3 * SECOND_US) == []
    assert found.next_lookup_us is None


def test_a_domain_that_is_found_changes_no_way_to_another() -> None:
    found = places()
    one = Destination.of("one.example", ["mx.one.example"])
    found.looked_up(one)
    way = found.egress(one, "default")

    found.looked_up(Destination.of("two.example", ["mx.two.example"]))

    assert found.egress(one, "default") is way
    moved = Destination.of("one.example", ["mx.new.example"])
    assert found.egress(moved, "default").site == "mx.new.example"


def test_a_destination_that_is_forgotten_is_looked_up_again() -> None:
    found = places()
    for number in range(MAX_DESTINATIONS + 1):
        found.looked_up(Destination(f"d{number}.example", frozenset()))

    assert found.place(a_mail(1, "d0.example")) is None
    assert found.lookups(0) == ["d0.example"]
    assert found.place(a_mail(2, "d1.example")) is not None
