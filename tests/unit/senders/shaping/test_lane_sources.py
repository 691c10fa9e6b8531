"""Which source a mail leaves from: shares of a pool, blocks, suspensions, and what rules set for a while."""

from collections import Counter

from drivers.lane_world import BEGIN_US, FREE, TAKEN, LaneWorld

from senders.shaping.actions import ActiveAction
from senders.shaping.bindings import BindingKind
from senders.shaping.document import ActionKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_decider import LaneBegin
from senders.shaping.quantities import SendRate

HOUR_US = 3600 * SECOND_US
TWO = FREE + "[source.a]\n[source.b]\n[pool.all]\nsources = ['a', 'b']\n"
BLOCKED = "[[default.automation]]\npattern = 'blocked'\naction = 'suspend'\nduration = '1h'\n"


def sources(begun: list[LaneBegin]) -> Counter[str]:
    return Counter(begin.lane.source for begin in begun)


def test_sources_of_a_pool_share_by_weight() -> None:
    world = LaneWorld(TWO.replace("[source.a]", "[source.a]\nweight = 3"))
    for number in range(2000):
        world.mail(number)

    begun = sources(world.run(3))

    assert begun.total() == 2000
    assert 0.72 <= begun["a"] / 2000 <= 0.78


def test_a_blocked_source_gives_its_slice_to_the_others_and_gets_it_back() -> None:
    world = LaneWorld(TWO + BLOCKED, lambda begin: "550 blocked" if begin.lane.source == "a" else TAKEN)
    for number in range(400):
        world.mail(number)
    before = sources(world.run(5))
    assert 1 <= before["a"] <= 50, "only those that were on their way"
    assert before["b"] >= 350, "its slice went to the other source"

    for number in range(1000, 1400):
        world.mail(number)
    assert set(sources(world.run(60))) == {"b"}

    world.answers = lambda _: TAKEN
    world.run(3600, tick_us=1_000_000)
    for number in range(2000, 2400):
        world.mail(number)
    assert 120 <= sources(world.run(5))["a"] <= 280


def test_a_suspension_that_ends_is_tried_with_one_mail() -> None:
    world = LaneWorld(FREE + BLOCKED, lambda _: "550 blocked")
    for number in range(100):
        world.mail(number)
    world.run(1)
    first = len(world.begun)
    assert first <= 50

    world.run(2 * 3600 + 60, tick_us=1_000_000)

    assert len(world.begun) == first + 2, "one probe an hour"


def test_after_a_probe_that_is_taken_all_go() -> None:
    world = LaneWorld(FREE + BLOCKED, lambda _: "550 blocked")
    for number in range(100):
        world.mail(number)
    world.run(1)
    world.answers = lambda _: TAKEN
    world.run(3600, tick_us=1_000_000)

    world.run(5)

    assert len(world.begun) == 100


def test_if_all_sources_are_suspended_the_mail_waits_and_says_so() -> None:
    world = LaneWorld(TWO + BLOCKED, lambda _: "550 blocked by us")
    for number in range(200):
        world.mail(number)
    world.run(1)
    late = world.mail(1000)

    assert world.run(60) == []
    binding = world.binding(late)
    assert (binding.kind, binding.set_by) == (BindingKind.SUSPENDED, "default.automation[0]")
    assert binding.observed == "550 blocked by us"
    assert binding.until_us is not None
    assert 0 < binding.until_us - BEGIN_US <= HOUR_US + SECOND_US


def test_a_deferral_keeps_its_source_and_a_block_changes_it() -> None:
    world = LaneWorld(TWO + BLOCKED)
    other = {"a": "b", "b": "a"}
    own = {}
    for number in range(20):
        world.mail(number)
    for begin in world.run(2):
        own[begin.mail.id] = begin.lane.source
    for number in range(20):
        world.mail(number, last_source=other[own[f"m{number}"]])
    assert all(begin.lane.source == other[own[begin.mail.id]] for begin in world.run(2))

    world.answers = lambda begin: "550 blocked" if begin.lane.source == "a" else TAKEN
    for number in range(100, 300):
        world.mail(number, last_source="a")
    world.run(5)

    again = [begin.mail.id for _, begin in world.begun if begin.lane.source == "a"][-1]
    world.mail(int(again[1:]), last_source="a")
    assert sources(world.run(2)) == {"b": 1}


def test_what_is_held_waits_although_another_source_is_free() -> None:
    rule = BLOCKED.replace("suspend", "hold") + "scope = 'purpose'\n"
    world = LaneWorld(TWO + rule, lambda _: "550 blocked")
    for number in range(200):
        world.mail(number)
    world.run(1)
    late, free = world.mail(1000), world.mail(1001, purpose="transactional")

    begun = world.run(10, tick_us=50_000)

    assert [begin.mail.id for begin in begun] == [free.id]
    assert world.binding(late).kind is BindingKind.HELD


def test_a_rule_sets_a_key_for_its_time() -> None:
    rule = BLOCKED.replace("'suspend'", "{set = {max_message_rate = '1/s'}}").replace("1h", "10s")
    world = LaneWorld(FREE + rule, lambda _: "421 blocked")
    for number in range(5000):
        world.mail(number)
    world.run(1)
    world.answers = lambda _: TAKEN

    slow = world.run(8)
    fast = world.run(8)

    assert 6 <= len(slow) <= 10
    assert len(fast) > 1000


def test_mails_begin_as_soon_as_a_rule_that_slowed_them_has_ended() -> None:
    rule = BLOCKED.replace("'suspend'", "{set = {max_message_rate = '1/h'}}").replace("1h", "10s")
    world = LaneWorld(FREE + rule, lambda _: "421 blocked")
    world.mail(0)
    world.run(1)
    world.answers = lambda _: TAKEN
    for number in range(1, 100):
        world.mail(number)

    assert len(world.run(8)) <= 1
    assert len(world.run(3)) >= 98


def test_a_blocked_mail_leaves_from_another_source_and_a_deferred_one_from_the_same() -> None:
    world = LaneWorld(TWO)
    for number in range(20):
        world.mail(number, last_source="a")
    for number in range(20, 40):
        world.mail(number, last_source="a", blocked=True)

    begun = world.run(1)

    assert {begin.lane.source for begin in begun if int(begin.mail.id[1:]) < 20} == {"a"}
    assert {begin.lane.source for begin in begun if int(begin.mail.id[1:]) >= 20} == {"b"}


def test_what_bound_before_a_limit_ended_sends_no_mail_back() -> None:
    world = LaneWorld(FREE)
    world.mail(0)
    world.run(1)
    [(lane, _)] = world.board.lanes()
    slow = {"max_message_rate": SendRate.parse("1/h")}
    end_us = world.now_us + 100 * SECOND_US
    action = ActiveAction(("site", lane.key.site), ActionKind.SET, "a person", 1, end_us, slow)
    world.board.act([action])
    for number in range(1, 5):
        world.mail(number)
    world.run(1)
    assert len(list(world.board.long_bound(world.now_us + 5 * SECOND_US))) == 3

    world.board.follow([(action, True)])

    assert list(world.board.long_bound(world.now_us + 5 * SECOND_US)) == [], "nobody has decided since"
    assert len(world.run(1)) == 3
