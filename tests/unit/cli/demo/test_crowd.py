"""The demo's crowd: the same seed is the same crowd, and it does what the demo says of it."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.demo.crowd import (
    GONE,
    GREYLISTED,
    NORTHMAIL,
    RUN,
    ZONES,
    Sizes,
    gather,
    mailbox,
    profile,
    shift_to_present,
)
from schemas.zones import zone_named

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SIZES = Sizes(
    carts=100, cart_bought=10, cart_emptied=10, cart_second=10, cart_withdrawn=10, lapsing=5, orders=50, events=500
)


@pytest.fixture(scope="module")
def last() -> dict[str, datetime]:
    return {f"customer-{n:05d}": NOW - timedelta(days=n) for n in range(1, 600)}


def test_the_same_seed_gives_the_same_crowd_and_another_seed_another(last):
    assert gather(1, NOW, last, SIZES) == gather(1, NOW, last, SIZES)
    assert gather(1, NOW, last, SIZES) != gather(2, NOW, last, SIZES)


def test_the_crowd_has_the_requested_number_of_events_and_no_id_twice(last):
    events = gather(1, NOW, last, SIZES).events
    assert len(events) == SIZES.events
    assert len({event.id for event in events}) == SIZES.events


def test_carts_were_left_59_to_60_minutes_ago(last):
    crowd = gather(1, NOW, last, SIZES)
    carts = [e for e in crowd.events if e.type == "cart_updated" and not e.id.endswith(("-b", "-emptied"))]
    assert len(carts) == SIZES.carts
    assert all(timedelta(minutes=59) < NOW - cart.time < timedelta(minutes=60) for cart in carts)
    assert NOW < crowd.last_due < NOW + timedelta(minutes=1)


def test_only_customers_who_have_been_away_for_long_lapse(last):
    lapsing = [e for e in gather(1, NOW, last, SIZES).events if e.id.startswith("lapse-")]
    assert len(lapsing) == SIZES.lapsing
    assert all(NOW - last[event.user_id] > timedelta(days=400) for event in lapsing)


@pytest.mark.parametrize("hour", range(24))
def test_at_any_hour_some_zones_are_in_quiet_hours_and_others_are_not(hour):
    moment = datetime(2026, 11, 22, hour, tzinfo=UTC)
    local = [moment.astimezone(zone_named(name)).hour for name in ZONES]
    assert 0 < sum(h >= 21 or h < 8 for h in local) < len(ZONES)


def test_profiles_follow_only_from_the_name_and_use_every_zone():
    assert profile("customer-00001", NOW) == profile("customer-00001", NOW)
    assert {profile(f"customer-{n:05d}", NOW).zone for n in range(500)} == set(ZONES)


def test_the_log_is_moved_so_that_no_crossing_falls_into_the_run():
    end = datetime(1998, 6, 30, 19, tzinfo=UTC)
    crossings = [end + timedelta(days=2, minutes=m) for m in (-20, 0, 3, 14, 40, 90)]
    shift = shift_to_present(NOW, end, crossings)
    assert timedelta(days=2) <= NOW - (end + shift) < timedelta(days=3)
    assert not any(NOW + RUN[0] <= crossing + shift <= NOW + RUN[1] for crossing in crossings)


def test_crossings_everywhere_cannot_be_avoided_and_are_not_ignored():
    end = datetime(1998, 6, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="quarter hour"):
        shift_to_present(NOW, end, [end + timedelta(minutes=10 * n) for n in range(1000)])


def test_mailboxes_that_the_sink_defers_or_refuses_are_never_at_the_provider_that_blocks():
    boxes = [mailbox(f"customer-{n:05d}") for n in range(3000)]
    at_northmail = [each for each in boxes if each.endswith(f"@{NORTHMAIL}")]
    assert 800 < len(at_northmail) < 1200
    assert all(each.startswith("customer-") for each in at_northmail)
    assert any(each.startswith(f"{GREYLISTED}+") for each in boxes)
    assert any(each.startswith(f"{GONE}+") for each in boxes)


def test_browsers_only_look_around(last):
    crowd = gather(1, NOW, last, SIZES)
    others = {event.user_id for event in crowd.events if event.type != "product_viewed"}
    assert len(crowd.browsers) == len(last) - SIZES.lapsing - SIZES.carts - SIZES.orders
    assert not others & set(crowd.browsers)
