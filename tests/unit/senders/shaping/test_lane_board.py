"""Which mail begins on which lane, and what the others wait for."""

from collections import Counter

from drivers.lane_world import BEGIN_US, TAKEN, LaneWorld

from senders.shaping.actions import ActiveAction
from senders.shaping.bindings import BindingKind
from senders.shaping.document import ActionKind
from senders.shaping.gcra import SECOND_US, PermitRequest
from senders.shaping.keys import TlsPolicy
from senders.shaping.lane_decider import LaneBegin
from senders.shaping.lane_limits import connection_limits
from senders.shaping.loader import parse
from senders.shaping.permits import ClockReading
from senders.shaping.quantities import SendRate

HOUR_US = 3600 * SECOND_US
FREE = '[default]\nmax_message_rate = "100000/s"\nmax_connection_rate = "100000/s"\nconnection_limit = 50\n'
TWO = FREE + "[source.a]\n[source.b]\n[pool.all]\nsources = ['a', 'b']\n"
BLOCKED = "[[default.automation]]\npattern = 'blocked'\naction = 'suspend'\nduration = '1h'\n"


def sources(begun: list[LaneBegin]) -> Counter[str]:
    return Counter(begin.lane.source for begin in begun)


def test_mails_begin_by_priority_and_then_by_due_time() -> None:
    world = LaneWorld("[default]\nmax_message_rate = '10/s'")
    for number in range(20):
        world.mail(number)
    world.run(0.5)
    world.mail(100, purpose="transactional", priority=90)

    assert world.run(0.3)[0].mail.id == "m100"


def test_a_high_priority_goes_first_among_lanes_that_share_a_limit() -> None:
    world = LaneWorld(FREE + "[trigger.t]\nmax_message_rate = '10/s'\n")
    for number in range(20):
        world.mail(number, "d.example")
    world.mail(100, "other.example", priority=90)

    assert world.run(0.05)[0].mail.id == "m100"


def test_a_lane_keeps_to_its_rate_and_says_what_binds() -> None:
    world = LaneWorld("[default]\nmax_message_rate = '10/s'\nconnection_limit = 100\nmax_connection_rate = '1000/s'")
    last = [world.mail(number) for number in range(40)][-1]

    begun = world.run(2)

    assert 19 <= len(begun) <= 21
    binding = world.binding(last)
    assert (binding.kind, binding.limit, binding.set_by) == (
        BindingKind.MESSAGE_RATE,
        "10/s",
        "default.max_message_rate",
    )
    assert binding.until_us is not None
    assert world.now_us - 10_000 <= binding.until_us <= world.now_us + 200_000


def test_all_lanes_of_a_source_share_the_limits_of_a_provider() -> None:
    text = FREE + "[provider.p]\nmatch = [{mx_suffix = '.example'}]\nprovider_max_message_rate = '20/s'\n"
    world = LaneWorld(text)
    for number in range(200):
        world.mail(number, f"d{number % 4}.example")

    assert 38 <= len(world.run(2)) <= 41


def test_a_purpose_has_a_limit_of_its_own_that_holds_up_no_other() -> None:
    world = LaneWorld(FREE + "[purpose.marketing]\nmax_message_rate = '5/s'\n")
    for number in range(50):
        world.mail(number)
    world.mail(100, purpose="transactional", priority=10)

    begun = Counter(begin.mail.kind.purpose for begin in world.run(1))

    assert begun["transactional"] == 1
    assert 4 <= begun["marketing"] <= 6


def test_no_more_connections_are_opened_than_allowed() -> None:
    world = LaneWorld(FREE.replace("50", "3"))
    mails = [world.mail(number) for number in range(100)]

    world.run(1)

    assert max(world.most_on_the_way.values()) == 3
    assert len(world.opens) == 3
    binding = world.binding(mails[-1])
    assert (binding.kind, binding.limit, binding.set_by) == (
        BindingKind.CONNECTIONS,
        "3",
        "default.connection_limit",
    )


def test_a_connection_is_opened_no_faster_than_allowed() -> None:
    world = LaneWorld(FREE.replace('max_connection_rate = "100000/s"', 'max_connection_rate = "60/m"'))
    mails = [world.mail(number) for number in range(100)]

    world.run(3, takes_us=60 * SECOND_US)

    assert 2 <= len(world.opens) <= 3
    assert world.binding(mails[-1]).kind is BindingKind.CONNECTION_RATE


def test_one_connection_is_opened_for_one_mail() -> None:
    world = LaneWorld(FREE)
    world.mail(1)

    world.run(1)

    assert len(world.opens) == 1


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


def test_mails_of_a_domain_that_is_not_found_wait() -> None:
    world = LaneWorld(FREE)
    world.mx["lost.example"] = []
    lost, found = world.mail(1, "lost.example"), world.mail(2, "found.example")

    assert [begin.mail.id for begin in world.run(3)] == [found.id]
    assert world.binding(lost).kind is BindingKind.LOOKUP

    del world.mx["lost.example"]
    assert [begin.mail.id for begin in world.run(3)] == [lost.id]


def test_a_purpose_that_no_pool_takes_waits_until_the_file_has_one() -> None:
    text = FREE + "[source.a]\n[pool.p]\nsources = ['a']\npurposes = ['digest']\n"
    world = LaneWorld(text)
    mail = world.mail(1)
    assert world.run(1) == []
    assert world.binding(mail).kind is BindingKind.NO_POOL

    world.board.reshape(parse(text.replace("digest", "marketing").encode(), "f"))

    assert [begin.mail.id for begin in world.run(1)] == [mail.id]


def test_a_new_file_is_in_force_for_mails_that_wait() -> None:
    world = LaneWorld("[default]\nmax_message_rate = '1/s'\n")
    for number in range(50):
        world.mail(number)
    assert len(world.run(2)) <= 3

    world.board.reshape(parse(FREE.encode(), "f"))

    assert len(world.run(3)) >= 45


def test_a_mail_that_was_removed_never_begins() -> None:
    world = LaneWorld("[default]\nmax_message_rate = '1/s'\n")
    mails = [world.mail(number) for number in range(5)]
    unknown = world.mail(9, "other.example")
    for mail in [*mails[1:], unknown]:
        world.board.remove(mail.id)

    assert [begin.mail.id for begin in world.run(10)] == ["m0"]


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


class SilentWorld(LaneWorld):
    """Its limits answer only as long as they are not `silent`."""

    silent = False

    def _grant(self, request: PermitRequest) -> None:
        if not self.silent:
            super()._grant(request)


def test_while_no_limit_answers_nothing_is_decided_again_and_again() -> None:
    world = SilentWorld("[default]\nmax_message_rate = '2/s'")
    for number in range(20):
        world.mail(number)
    world.run(5)
    world.silent = True
    world.run(5)

    decision = world.board.decide(ClockReading(world.now_us, world.now_us))

    assert decision.wake_us is None or decision.wake_us > world.now_us + 10_000


def test_a_blocked_mail_leaves_from_another_source_and_a_deferred_one_from_the_same() -> None:
    world = LaneWorld(TWO)
    for number in range(20):
        world.mail(number, last_source="a")
    for number in range(20, 40):
        world.mail(number, last_source="a", blocked=True)

    begun = world.run(1)

    assert {begin.lane.source for begin in begun if int(begin.mail.id[1:]) < 20} == {"a"}
    assert {begin.lane.source for begin in begun if int(begin.mail.id[1:]) >= 20} == {"b"}


def test_lanes_without_mails_are_forgotten_and_found_again() -> None:
    world = LaneWorld(FREE)
    for number in range(10):
        world.mail(number, f"d{number}.example")
    world.run(1)
    for lane, _ in list(world.board.lanes()):
        for _ in range(lane.open):
            world.board.closed(lane.key)
    world.run(1)

    for _ in range(2):
        world.board.drop_unused(world.now_us)
    assert list(world.board.lanes()) == []

    world.mail(100, "d1.example")
    assert [begin.mail.id for begin in world.run(1)] == ["m100"]


def test_a_lane_with_mails_is_not_forgotten() -> None:
    world = LaneWorld(FREE.replace("100000/s", "1/h", 1))
    for number in range(10):
        world.mail(number)
    world.run(1)

    for _ in range(3):
        world.board.drop_unused(world.now_us)

    assert [len(lane.queue) for lane, _ in world.board.lanes()] == [9]


def test_two_providers_that_meet_at_one_site_keep_their_own_rates() -> None:
    world = LaneWorld(
        FREE
        + """
        [provider.one]
        match = [{domain_suffix = ".one.example"}]
        max_message_rate = "10/s"
        connection_limit = 3
        [provider.two]
        match = [{domain_suffix = ".two.example"}]
        max_message_rate = "2/s"
        connection_limit = 1
        """
    )
    world.mx = {name: ["mx.shared.example"] for name in ("a.one.example", "a.two.example", "free.example")}
    for number in range(150):
        world.mail(number, ["a.one.example", "a.two.example", "free.example"][number % 3])

    began = Counter(begin.mail.domain for begin in world.run(4))

    assert 38 <= began["a.one.example"] <= 42
    assert 7 <= began["a.two.example"] <= 9
    assert began["free.example"] == 50
    assert world.most_on_the_way["default mx.shared.example of two"] == 1
    limits = {each.paced.name for lane, _ in world.board.lanes() for each in lane.rates}
    assert limits == {f"mails default mx.shared.example{of}" for of in ("", " of one", " of two")}
    names = [name for lane, _ in world.board.lanes() for name, _ in connection_limits(lane.egress, lane.keys)]
    assert len(names) == len(set(names)), "each has slots of its own"


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
