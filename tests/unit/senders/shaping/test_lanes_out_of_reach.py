"""Lanes that reach no server: how long they rest, and which of their mails wait for long."""

from drivers.lane_world import FREE, LaneWorld

from senders.shaping.actions import ActiveAction
from senders.shaping.bindings import BindingKind
from senders.shaping.document import ActionKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.keys import TlsPolicy

HOUR_US = 3600 * SECOND_US


def test_mails_of_a_domain_that_is_not_found_wait() -> None:
    world = LaneWorld(FREE)
    world.mx["lost.example"] = []
    lost, found = world.mail(1, "lost.example"), world.mail(2, "found.example")

    assert [begin.mail.id for begin in world.run(3)] == [found.id]
    assert world.binding(lost).kind is BindingKind.LOOKUP

    del world.mx["lost.example"]
    assert [begin.mail.id for begin in world.run(3)] == [lost.id]


def test_too_many_failed_connections_in_a_row_let_the_lane_rest() -> None:
    world = LaneWorld(FREE + "consecutive_connection_failures_before_delay = 2\nretry_interval = '10m'\n")
    mail = world.mail(1)
    world.run(1)
    world.mail(2)
    key = world.begun[0][1].lane
    lane = next(lane for lane, _ in world.board.lanes() if lane.key == key)
    world.board.closed(key)
    for _ in range(2):
        lane.opening += 1
        world.board.not_opened(key, world.now_us)

    late = world.mail(3)
    assert [begin for begin in world.run(9 * 60, tick_us=1_000_000) if begin.mail.id == late.id] == []
    assert world.binding(late).kind is BindingKind.RESTING
    assert late.id in [begin.mail.id for begin in world.run(2 * 60, tick_us=1_000_000)]
    assert mail.id == "m1"


def test_a_lane_that_reaches_no_server_tries_again_later_with_one_connection() -> None:
    world = LaneWorld(FREE)
    world.mail(1)
    world.run(1)
    key = world.begun[0][1].lane
    lane = world.board.lane(key)
    while lane.open:
        world.board.closed(key)
    lane.opening += 1
    world.board.not_opened(key, world.now_us)
    tried = len(world.opens)

    late = [world.mail(number) for number in range(10, 20)]
    assert world.run(0.2) == []
    assert len(world.opens) == tried
    assert world.binding(late[0]).observed == "1 connections failed"
    assert list(world.board.long_bound(world.now_us + 5 * SECOND_US)) == [], "it is tried again very soon"
    assert len(world.run(1)) == len(late)


def test_mails_of_a_lane_that_has_reached_no_server_for_a_while_wait_for_long() -> None:
    world = LaneWorld(FREE)
    world.mail(1)
    key = world.run(1)[0].lane
    while world.board.lane(key).open:
        world.board.closed(key)
    for _ in range(6):
        world.board.lane(key).opening += 1
        world.board.not_opened(key, world.now_us)
        world.now_us = world.board.lane(key).refused_until_us
    world.board.lane(key).opening += 1
    world.board.not_opened(key, world.now_us)
    late = [world.mail(number) for number in range(10, 20)]
    world.run(0.1)

    assert {mail.id for mail, _ in world.board.long_bound(world.now_us + HOUR_US)} == {mail.id for mail in late}


def test_what_waits_for_long_is_named_with_what_binds_it_and_what_waits_shortly_is_not() -> None:
    rates = "[purpose.marketing]\nmax_message_rate = '10/h'\n[purpose.digest]\nmax_message_rate = '5/s'\n"
    world = LaneWorld(FREE + rates)
    slow = [world.mail(number) for number in range(4)]
    for number in range(10, 60):
        world.mail(number, purpose="digest")
    world.run(1)

    long = {mail.id: binding for mail, binding in world.board.long_bound(world.now_us + 5 * SECOND_US)}

    assert set(long) == {mail.id for mail in slow[1:]}
    assert {binding.limit for binding in long.values()} == {"10/h"}


def test_mails_without_a_pool_and_of_domains_that_are_not_found_wait_for_long() -> None:
    world = LaneWorld(FREE + "[source.a]\n[pool.a]\nsources = ['a']\npurposes = ['digest']\n")
    world.mx["lost.example"] = []
    world.mail(1)
    world.mail(2, "lost.example", purpose="digest")
    world.run(0.1)

    long = {mail.id: binding.kind for mail, binding in world.board.long_bound(world.now_us + SECOND_US // 2)}

    assert long == {"m1": BindingKind.NO_POOL, "m2": BindingKind.LOOKUP}


def test_a_domain_whose_hosts_are_not_known_any_more_holds_up_no_other_of_its_site() -> None:
    world = LaneWorld(FREE.replace("100000/s", "1/s", 1))
    world.mx = {name: ["mx.site.example"] for name in ("lost.example", "found.example")}
    lost = [world.mail(number, "lost.example") for number in range(5)]
    found = [world.mail(number, "found.example") for number in range(5, 8)]
    key = world.run(0.1)[0].lane
    assert world.board.way(key).domain == "lost.example"

    world.board.lost("lost.example", world.now_us + 10 * SECOND_US)

    assert world.board.way(key).domain == "found.example"
    assert {world.binding(mail).kind for mail in lost[1:]} == {BindingKind.LOOKUP}
    assert [begin.mail.id for begin in world.run(9)] == [mail.id for mail in found]
    assert {begin.mail.id for begin in world.run(9)} == {mail.id for mail in lost[1:]}


def test_a_lane_whose_keys_change_tries_at_once_what_failed_with_the_old_ones() -> None:
    world = LaneWorld(FREE)
    world.mail(0)
    world.run(1)
    [(lane, _)] = world.board.lanes()
    for _ in range(lane.open):
        world.board.closed(lane.key)
    for _ in range(5):
        world.now_us = max(world.now_us, lane.refused_until_us)
        lane.failed(world.now_us)
    world.mail(1)
    assert world.run(1) == []

    no_tls = {"tls": TlsPolicy.OFF}
    world.board.act([ActiveAction(("site", lane.key.site), ActionKind.SET, "a person", 1, 2 * world.now_us, no_tls)])

    assert [begin.mail.id for begin in world.run(0.1)] == ["m1"]
    assert not lane.unreachable
